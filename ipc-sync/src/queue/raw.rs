//! Items that are bytes already: [`Bytes`] go into the queue as they are, with one copy on each side, and no codec.

use std::any::Any;

use ipc_core::Bytes;

/// The bytes of a value that is such.
pub(super) fn of<T: 'static>(value: &T) -> Option<&[u8]> {
    (value as &dyn Any).downcast_ref::<Bytes>().map(|bytes| &**bytes)
}

/// Whether values of this type are.
pub(super) fn is<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<Bytes>()
}

/// The value, if it is such.
pub(super) fn value<T: 'static>(bytes: Vec<u8>) -> Option<T> {
    let mut value = None::<T>;
    if let Some(place) = (&mut value as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        *place = Some(bytes.into());
    }
    value
}
