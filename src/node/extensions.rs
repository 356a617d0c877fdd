//! What rooms above keep with the node: one value of each type, made when it is first asked for.
//!
//! Services share tables with the handle that users hold (the functions that `rpc` can call), and the
//! node itself knows nothing about them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;

/// One value of each type.
#[derive(Default)]
pub(crate) struct Extensions(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.0.lock();
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default())).clone();
        // The key is the type, so the value is never of another one.
        value.downcast().unwrap_or_default()
    }
}

impl Node {
    /// The value of this type that goes with the node: the same one for all of its handles.
    pub(crate) fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.0.extensions.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_value() {
        let extensions = Extensions::default();
        let first = extensions.get::<Mutex<u8>>();
        *first.lock() = 7;
        assert_eq!(*extensions.get::<Mutex<u8>>().lock(), 7);
        assert_eq!(*extensions.get::<Mutex<u16>>().lock(), 0);
    }
}
