//! Shared memory for processes of one program: the crate's turn has not come, nothing stands here.
//!
//! What will: sealed anonymous segments (memfd) that travel inside values, `Value<T>` and `Array<T>`
//! with a lock of their own, arenas, named shared memory with an owner, and futex locks whose owner's
//! death is reported to the next locker (the kernel's robust list). The one module for sleeping and
//! waking across processes, which `ipc-sync` builds on, belongs here as well.
