//! Several agents on one bucket and the fake metadata service: who reads what from where.

mod bed;
mod faults;
mod sharing;
mod sockets;
