//! Lets HTTP connections spawn through the Tasks port.

use std::future::Future;

use aquifer_store::runtime::Tasks;

/// An executor of hyper's whose tasks are the node's.
#[derive(Clone, Debug)]
pub struct Spawner(pub Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
