//! The `uniform` assignor: all members get about the same number of partitions, and keep those that they
//! have as far as that allows.

use super::{Assignment, Spec, uniform_heterogeneous, uniform_homogeneous};

pub(super) fn assign(spec: &Spec) -> Assignment {
    if spec.homogeneous {
        uniform_homogeneous::assign(spec)
    } else {
        uniform_heterogeneous::assign(spec)
    }
}
