//! The applet over a scripted card.
