//! Virtual cards in readers of this process: the product's driver over them, without pcscd.

#![forbid(unsafe_code)]

mod bench;
mod fixture;
mod reader;

pub use bench::Bench;
pub use fixture::CardFixture;
pub use reader::Reader;
