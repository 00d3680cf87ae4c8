//! The agent: speaks the Kafka protocol, batches what producers send into objects, and serves what
//! consumers ask for.
