//! Parts: how pages and rows lie in the bucket.
