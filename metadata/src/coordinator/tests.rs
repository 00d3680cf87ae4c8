//! The coordinator with a state, a clock that is moved by hand, and numbers for those who wait.

mod bed;
