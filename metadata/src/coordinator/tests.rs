//! The coordinator with a state, a clock that is moved by hand, and numbers for those who wait.

mod answer_room;
mod assignors;
mod bed;
mod classic;
mod classic_restarts;
mod consumer;
mod convert;
mod machine;
mod member;
mod model;
mod offsets;
mod ownership;
mod play;
mod regex;
