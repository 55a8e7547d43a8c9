//! Scripted services.
