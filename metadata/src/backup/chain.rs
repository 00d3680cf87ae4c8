//! Reading the newest backup, and which objects of earlier ones are of no use any more.
