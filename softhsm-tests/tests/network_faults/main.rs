//! What networks and services do wrong, end to end through the module: each fault has its CK_RV and its words in the log; nothing
//! takes longer than it may, grows, or costs another token anything.

mod manners;
mod restarts;
mod scenes;
mod secrets;
mod table;
mod tls;
