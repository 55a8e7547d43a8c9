//! What a card is that has just come: which of the applets that are known here is on it.

use std::sync::Arc;

use ctk_token::Reason;

use crate::{
    applet::{Applet, Failure, Row},
    applets::ROWS,
    card::{SmartCard, Transaction},
    link::{Link, LinkError},
    token::CardToken,
};

/// How often a card is asked what it is, if it is reset in between.
const MAX_ATTEMPTS: usize = 3;

/// Asks a card that has just come what it is. `None` if nothing on it is known here.
///
/// # Errors
/// [`LinkError`] if it does not answer, so that it may be asked again.
pub(crate) fn recognize(link: Box<dyn Link>) -> Result<Option<Arc<CardToken>>, LinkError> {
    recognize_among(link, ROWS)
}

/// The same with these applets.
pub(crate) fn recognize_among(
    link: Box<dyn Link>,
    rows: &[&'static Row],
) -> Result<Option<Arc<CardToken>>, LinkError> {
    let card = SmartCard::new(link);
    let mut last = LinkError::Reset;
    for _ in 0..MAX_ATTEMPTS {
        match find_applet(&card, rows) {
            Ok(found) => return Ok(found.map(|applet| CardToken::new(card, applet))),
            Err(LinkError::Reset) => {}
            Err(error) => last = error,
        }
        if last != LinkError::Reset {
            break;
        }
    }
    Err(last)
}

fn find_applet(
    card: &SmartCard,
    rows: &[&'static Row],
) -> Result<Option<Box<dyn Applet>>, LinkError> {
    let mut asked = card.unkept();
    let mut refused = None;
    // Somebody may be logged in there, and SELECT would end that. But which token a card is does not
    // depend on what others have selected: only the applet that comes first is taken as it is.
    if card.was_in_use()
        && let Some(row) = rows.first()
        && let Some(applet) = (row.open)(&[], card.atr())
        && is_selected(&*applet, &mut asked)?
    {
        log::debug!("card: {} is selected", row.name);
        return Ok(Some(applet));
    }
    for row in rows {
        log::trace!("card: asked for {}: {}", row.name, row.reason);
        let selected = match asked.select(row) {
            Ok(selected) => selected,
            Err(Failure::Link(error)) => return Err(error),
            Err(Failure::Status(status)) if !status.is_no_such_applet() => {
                refused = Some(status);
                continue;
            }
            Err(_) => continue,
        };
        if let Some(applet) = (row.open)(&selected.data, card.atr()) {
            log::debug!("card: {} is there", row.name);
            return Ok(Some(applet));
        }
    }
    match refused {
        None => Ok(None),
        // That says nothing of what is on it, and the next answer may.
        Some(status) => Err(LinkError::Mute(Reason::new(format!(
            "{} ({status}): take it out and put it in again",
            status.words()
        )))),
    }
}

/// Whether the applet is the selected one. An answer that it cannot make sense of is another
/// applet's.
pub(crate) fn is_selected(
    applet: &dyn Applet,
    card: &mut Transaction<'_>,
) -> Result<bool, LinkError> {
    match applet.is_selected(card) {
        Ok(is_selected) => Ok(is_selected),
        Err(Failure::Link(error)) => Err(error),
        Err(_) => Ok(false),
    }
}
