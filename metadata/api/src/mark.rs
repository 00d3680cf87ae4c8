//! What a caller remembers of the metadata journal.

pub use aquifer_format::mark::JournalMark;
