//! Configuration: which files count, what they say, and how they are written.

mod problem;

pub use problem::Problem;
