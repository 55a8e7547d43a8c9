//! The applets that are known here: one file or folder and one row for each.

mod openpgp;
mod piv;

use crate::applet::Row;

/// All of them, in the order in which a card is asked for them.
pub(crate) const ROWS: &[&Row] = &[&piv::ROW, &openpgp::ROW];
