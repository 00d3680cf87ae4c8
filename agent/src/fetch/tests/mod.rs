//! Tests of the fetch path.
