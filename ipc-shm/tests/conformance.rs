//! CPython's own tests of locks and shared values, under CPython's names.
//!
//! One body over exec and fork server. What these tests leave out stands in `locks.rs`. `xtask/parity.md` says which row of Python's
//! list each of them shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use ipc_core::Context;
use ipc_shm::{Array, Error, Lock, LockError, RLock, RawArray, RawValue, Synchronized, Value};
use ipc_testkit::leaks;

/// A back end of the tests.
type Start = fn() -> Context;

/// Runs a function in a child, and gives its value.
macro_rules! in_child {
    ($start:expr, $function:expr, $args:expr) => {
        $start().spawn($function, $args).unwrap().join().unwrap()
    };
}

mod bodies {
    pub(crate) mod test_lock {
        use crate::*;

        pub(crate) fn lock(start: Start) {
            let lock = Lock::new().unwrap();
            let guard = lock.lock().unwrap();
            assert!(lock.is_locked());
            assert!(matches!(lock.try_lock(), Err(LockError::Error(Error::AlreadyHeld))));
            let acquire = |lock: Lock| matches!(lock.try_lock(), Err(LockError::WouldBlock));
            assert!(in_child!(start, acquire, (lock.clone(),)), "acquire(False) is False");
            drop(guard);
            assert!(!lock.is_locked());
        }

        pub(crate) fn rlock(start: Start) {
            let lock = RLock::new().unwrap();
            let guards = [(); 3].map(|()| lock.lock().unwrap());
            let busy = |lock: RLock| matches!(lock.try_lock(), Err(LockError::WouldBlock));
            let left = |lock: RLock| lock.is_locked();
            for (at, guard) in guards.into_iter().enumerate() {
                assert_eq!(lock.depth() as usize, 3 - at);
                assert!(in_child!(start, busy, (lock.clone(),)));
                drop(guard);
            }
            assert!(!lock.is_locked() && !in_child!(start, left, (lock.clone(),)));
        }

        pub(crate) fn lock_context(_: Start) {
            let lock = Lock::new().unwrap();
            {
                let _guard = lock.lock().unwrap();
                assert!(lock.is_locked());
            }
            assert!(!lock.is_locked());
        }

        pub(crate) fn rlock_context(_: Start) {
            let lock = RLock::new().unwrap();
            {
                let _outer = lock.lock().unwrap();
                let _inner = lock.lock().unwrap();
                assert!(lock.is_locked());
            }
            assert!(!lock.is_locked());
        }

        pub(crate) fn lock_locked_2processes(start: Start) {
            let lock = Lock::new().unwrap();
            let locked = |lock: Lock| lock.is_locked();
            assert!(!in_child!(start, locked, (lock.clone(),)));
            let guard = lock.lock().unwrap();
            assert!(in_child!(start, locked, (lock.clone(),)));
            drop(guard);
            assert!(!in_child!(start, locked, (lock.clone(),)));
        }

        pub(crate) fn rlock_locked_2processes(start: Start) {
            let lock = RLock::new().unwrap();
            let locked = |lock: RLock| lock.is_locked();
            let guard = lock.lock().unwrap();
            assert!(in_child!(start, locked, (lock.clone(),)));
            drop(guard);
            assert!(!in_child!(start, locked, (lock.clone(),)));
        }

        pub(crate) fn repr_lock(start: Start) {
            let lock = Lock::new().unwrap();
            assert_eq!(format!("{lock:?}"), "Lock { owner: None }");
            let _guard = lock.lock().unwrap();
            let owned = format!("Lock {{ owner: Some({}) }}", std::process::id());
            assert_eq!(format!("{lock:?}"), owned);
            assert_eq!(in_child!(start, |lock: Lock| format!("{lock:?}"), (lock.clone(),)), owned);
        }

        pub(crate) fn repr_rlock(start: Start) {
            let lock = RLock::new().unwrap();
            assert_eq!(format!("{lock:?}"), "RLock { owner: None, depth: 0 }");
            let _guards = [lock.lock().unwrap(), lock.lock().unwrap()];
            let owned = format!("RLock {{ owner: Some({}), depth: 2 }}", std::process::id());
            assert_eq!(format!("{lock:?}"), owned);
            assert_eq!(in_child!(start, |lock: RLock| format!("{lock:?}"), (lock.clone(),)), owned);
        }
    }

    pub(crate) mod test_value {
        use crate::*;

        pub(crate) fn value(start: Start) {
            /// Each of Python's codes: what it begins with, and what the child makes of it.
            macro_rules! codes {
                ($($code:ty: $before:expr => $after:expr;)*) => {
                    $({
                        let value = Value::<$code>::new($before).unwrap();
                        let set = |value: Value<$code>| {
                            assert_eq!(value.get().unwrap(), $before);
                            value.set($after).unwrap();
                        };
                        in_child!(start, set, (value.clone(),));
                        assert_eq!(value.get().unwrap(), $after);
                    })*
                };
            }
            codes! {
                i32: 4343 => 24234;
                f64: 3.625 => -4.25;
                i16: -232 => 234;
                i64: 1 << 33 => 1 << 34;
                u8: b'x' => b'y';
                [u8; 3]: *b"xyz" => *b"abc";
                i8: -1 => 1;
                u16: 1 => u16::MAX;
                u32: 1 => u32::MAX;
                u64: 1 => u64::MAX;
                f32: 0.5 => -0.25;
            }
        }

        /// The same without a lock, of those codes that CPython tries.
        pub(crate) fn rawvalue(start: Start) {
            macro_rules! codes {
                ($($code:ty: $before:expr => $after:expr;)*) => {
                    $({
                        let value = RawValue::<$code>::new($before).unwrap();
                        let set = |value: RawValue<$code>| {
                            assert_eq!(value.get(), $before);
                            value.set($after);
                        };
                        in_child!(start, set, (value.clone(),));
                        assert_eq!(value.get(), $after);
                    })*
                };
            }
            codes! {
                i32: 4343 => 24234;
                f64: 3.625 => -4.25;
                i16: -232 => 234;
                i64: 1 << 33 => 1 << 34;
                u8: b'x' => b'y';
            }
        }

        /// `lock=RLock()`: it is the one that was given, and `get_lock` gives it.
        pub(crate) fn getobj_getlock_rlock(start: Start) {
            let lock = RLock::new().unwrap();
            let value = Synchronized::with_lock(RawValue::new(5_i32).unwrap(), lock.clone());
            let guard = value.lock().unwrap();
            assert_eq!((lock.depth(), value.rlock().depth()), (1, 1));
            let busy = |value: Synchronized<RawValue<i32>>| {
                matches!(value.try_lock(), Err(LockError::WouldBlock)) && value.raw().get() == 5
            };
            assert!(in_child!(start, busy, (value.clone(),)));
            drop(guard);
            assert_eq!((value.get().unwrap(), value.raw().get()), (5, 5));
        }

        /// The lock is that of the guard; a guard is the object.
        pub(crate) fn getobj_getlock(start: Start) {
            let value = Value::new(5_i32).unwrap();
            let mut guard = value.lock().unwrap();
            let busy = |value: Value<i32>| matches!(value.try_lock(), Err(LockError::WouldBlock));
            assert!(in_child!(start, busy, (value.clone(),)));
            *guard += 1;
            drop(guard);
            assert_eq!(value.get().unwrap(), 6);
        }
    }

    pub(crate) mod test_array {
        use crate::*;

        /// Prefix sums, as CPython's child makes them.
        fn sums(numbers: &mut [i32]) {
            for at in 1..numbers.len() {
                numbers[at] += numbers[at - 1];
            }
        }

        pub(crate) fn array(start: Start) {
            let mut numbers = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
            let array = Array::from_slice(&numbers).unwrap();
            assert_eq!(array.len(), 10);
            assert_eq!(array.get(3).unwrap(), numbers[3]);
            assert_eq!(array.lock().unwrap()[2..7], numbers[2..7]);
            numbers[4..8].copy_from_slice(&[1, 2, 3, 4]);
            array.lock().unwrap()[4..8].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(array.to_vec().unwrap(), numbers);
            sums(&mut numbers);
            in_child!(start, |array: Array<i32>| sums(&mut array.lock().unwrap()), (array.clone(),));
            assert_eq!(array.to_vec().unwrap(), numbers);
        }

        pub(crate) fn rawarray(start: Start) {
            let mut numbers = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
            let array = RawArray::from_slice(&numbers).unwrap();
            assert_eq!(array.len(), 10);
            assert_eq!(array.get(3).unwrap(), numbers[3]);
            assert_eq!(array.get_range(2..7).unwrap(), numbers[2..7]);
            numbers[4..8].copy_from_slice(&[1, 2, 3, 4]);
            array.set_range(4..8, &[1, 2, 3, 4]).unwrap();
            assert_eq!(array.to_vec(), numbers);
            sums(&mut numbers);
            let in_child = |array: RawArray<i32>| {
                for at in 1..array.len() {
                    array.set(at, array.get(at).unwrap() + array.get(at - 1).unwrap()).unwrap();
                }
            };
            in_child!(start, in_child, (array.clone(),));
            assert_eq!(array.to_vec(), numbers);
        }

        pub(crate) fn array_from_size(_: Start) {
            for _ in 0..3 {
                // Also where memory is used again.
                let array = Array::<i32>::zeroed(10).unwrap();
                assert_eq!(array.to_vec().unwrap(), [0; 10]);
                array.copy_from_slice(&[7; 10]).unwrap();
                assert_eq!(array.to_vec().unwrap(), [7; 10]);
            }
        }

        pub(crate) fn getobj_getlock_obj(start: Start) {
            let array = Array::from_iter(0..10).unwrap();
            let guard = array.lock().unwrap();
            let busy = |array: Array<i32>| matches!(array.try_lock(), Err(LockError::WouldBlock));
            assert!(in_child!(start, busy, (array.clone(),)));
            assert_eq!(guard.iter().sum::<i32>(), 45);
        }
    }

    pub(crate) mod test_shared_ctypes {
        use crate::*;

        #[derive(Clone, Copy, Debug, PartialEq, ipc_shm::Pod, ipc_shm::Zeroable)]
        #[repr(C)]
        struct Point {
            x: f64,
            y: i64,
        }

        fn double(
            x: Value<i32>,
            y: Value<f64>,
            point: Value<Point>,
            array: Array<f64>,
            string: Array<u8>,
        ) -> ipc_shm::Result<()> {
            x.update(|x| *x *= 2)?;
            y.update(|y| *y *= 2.0)?;
            point.update(|point| {
                point.x *= 2.0;
                point.y *= 2;
            })?;
            array.update(|all| all.iter_mut().for_each(|x| *x *= 2.0))?;
            string.update(|all| all.iter_mut().for_each(|byte| *byte = byte.to_ascii_uppercase()))
        }

        pub(crate) fn sharedctypes(start: Start) {
            let x = Value::new(7_i32).unwrap();
            let y = Value::new(1.0_f64 / 3.0).unwrap();
            let point = Value::new(Point { x: 3.0, y: 2 }).unwrap();
            let array = Array::from_iter((0..10).map(f64::from)).unwrap();
            let string = Array::from_slice(b"hello").unwrap();
            let args = (x.clone(), y.clone(), point.clone(), array.clone(), string.clone());
            start().spawn(double, args).unwrap().join().unwrap().unwrap();
            assert_eq!(x.get().unwrap(), 14);
            assert_eq!(y.get().unwrap(), 2.0 / 3.0);
            assert_eq!(point.get().unwrap(), Point { x: 6.0, y: 4 });
            assert_eq!(array.to_vec().unwrap(), (0..10).map(|n| f64::from(2 * n)).collect::<Vec<_>>());
            assert_eq!(string.to_vec().unwrap(), b"HELLO");
        }

        /// CPython's `sharedctypes` with `lock=True`, whose lock is recursive.
        pub(crate) fn synchronize(start: Start) {
            type Shared =
                (Synchronized<RawValue<i32>>, Synchronized<RawArray<f64>>, Synchronized<RawArray<u8>>);
            fn double((x, array, string): Shared) -> ipc_shm::Result<()> {
                let _outer = x.lock()?;
                x.update(|x| *x *= 2)?;
                (0..array.len()).try_for_each(|at| array.update(at, |x| *x *= 2.0))?;
                (0..string.len())
                    .try_for_each(|at| string.update(at, |byte| *byte = byte.to_ascii_uppercase()))
            }
            let x = Synchronized::new(RawValue::new(7).unwrap()).unwrap();
            let array = RawArray::from_iter((0..10).map(f64::from)).unwrap();
            let array = Synchronized::with_lock(array, x.rlock().clone());
            let string = Synchronized::new(RawArray::from_slice(b"hello").unwrap()).unwrap();
            in_child!(start, double, ((x.clone(), array.clone(), string.clone()),)).unwrap();
            assert_eq!(x.get().unwrap(), 14);
            assert_eq!(array.to_vec().unwrap(), (0..10).map(|n| f64::from(2 * n)).collect::<Vec<_>>());
            assert_eq!(string.to_vec().unwrap(), b"HELLO");
        }

        /// A copy is one of the value, not of the handle.
        pub(crate) fn copy(_: Start) {
            let point = Value::new(Point { x: 1.0, y: 2 }).unwrap();
            let copy = point.copy().unwrap();
            point.set(Point { x: 0.0, y: 0 }).unwrap();
            assert_eq!(copy.get().unwrap(), Point { x: 1.0, y: 2 });
        }
    }
}

macro_rules! back_end {
    ($back_end:ident = $start:expr; $($class:ident { $($test:ident)* })*) => {
        mod $back_end {
            $(mod $class {
                $(#[test]
                fn $test() {
                    let _leaks = crate::leaks();
                    crate::bodies::$class::$test($start);
                })*
            })*
        }
    };
}

back_end! { exec = ipc_core::Context::exec;
    test_lock {
        lock rlock lock_context rlock_context lock_locked_2processes rlock_locked_2processes repr_lock repr_rlock
    }
    test_value { value rawvalue getobj_getlock getobj_getlock_rlock }
    test_array { array rawarray array_from_size getobj_getlock_obj }
    test_shared_ctypes { sharedctypes synchronize copy }
}

back_end! { fork_server = ipc_core::Context::fork_server;
    test_lock {
        lock rlock lock_context rlock_context lock_locked_2processes rlock_locked_2processes repr_lock repr_rlock
    }
    test_value { value rawvalue getobj_getlock getobj_getlock_rlock }
    test_array { array rawarray array_from_size getobj_getlock_obj }
    test_shared_ctypes { sharedctypes synchronize copy }
}
