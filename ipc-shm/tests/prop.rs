//! Any sequence of operations on values and arrays gives what plain values give.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::slice;
use std::time::Duration;

use ipc_core::{Receiver, Sender, pipe};
use ipc_shm::{Array, Error, Result, Value};
use ipc_testkit::leaks;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde::{Deserialize, Serialize};

const SHORT: Duration = Duration::from_millis(2);

/// What is shared: of either kind, with so many numbers in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Handle {
    Value(Value<[u16; 4]>),
    Array(Array<u16>),
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug)]
enum How {
    Lock,
    Try,
    Timeout,
}

impl Handle {
    fn new(array: bool, content: &[u16]) -> Handle {
        match content.try_into() {
            Ok(content) if !array => Handle::Value(Value::new(content).unwrap()),
            _ => Handle::Array(Array::from_slice(content).unwrap()),
        }
    }

    fn get(&self) -> Result<Vec<u16>> {
        match self {
            Handle::Value(value) => value.get().map(Vec::from),
            Handle::Array(array) => array.to_vec(),
        }
    }

    fn set(&self, content: &[u16]) -> Result<()> {
        match self {
            Handle::Value(value) => value.set(content.try_into().unwrap()),
            Handle::Array(array) => array.copy_from_slice(content),
        }
    }

    fn update(&self, f: impl FnOnce(&mut [u16])) -> Result<()> {
        match self {
            Handle::Value(value) => value.update(|all| f(all)),
            Handle::Array(array) => array.update(f),
        }
    }

    /// Calls `f` with the guard's data, or with why there is none.
    fn locked<R>(&self, how: How, f: impl FnOnce(Result<&mut [u16]>) -> R) -> R {
        match self {
            Handle::Value(value) => {
                let locked = match how {
                    How::Lock => value.lock(),
                    How::Try => value.try_lock(),
                    How::Timeout => value.lock_timeout(SHORT),
                };
                match locked {
                    Ok(mut guard) => f(Ok(&mut *guard)),
                    Err(error) => f(Err(error.into())),
                }
            }
            Handle::Array(array) => {
                let locked = match how {
                    How::Lock => array.lock(),
                    How::Try => array.try_lock(),
                    How::Timeout => array.lock_timeout(SHORT),
                };
                match locked {
                    Ok(mut guard) => f(Ok(&mut guard)),
                    Err(error) => f(Err(error.into())),
                }
            }
        }
    }

    fn lock_state(&self) -> (bool, Option<u32>) {
        match self {
            Handle::Value(value) => (value.is_locked(), value.owner()),
            Handle::Array(array) => (array.is_locked(), array.owner()),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    New { array: bool, content: Vec<u16> },
    Get { at: usize },
    Element { at: usize, index: usize, value: u16 },
    Set { at: usize, seed: u16 },
    Update { at: usize, add: u16 },
    Lock { at: usize, how: How, add: u16 },
    Unlock,
    Elsewhere { at: usize },
    Clone { at: usize },
    Send { at: usize },
    Receive,
    Drop { at: usize },
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Lock), Just(How::Try), Just(How::Timeout)]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || any::<usize>();
    let content = prop_oneof![vec(any::<u16>(), 4), vec(any::<u16>(), 0..40), vec(any::<u16>(), 2000..3000)];
    prop_oneof![
        2 => (any::<bool>(), content).prop_map(|(array, content)| Step::New { array, content }),
        2 => at().prop_map(|at| Step::Get { at }),
        2 => (at(), 0..50usize, any::<u16>()).prop_map(|(at, index, value)| Step::Element { at, index, value }),
        2 => (at(), any::<u16>()).prop_map(|(at, seed)| Step::Set { at, seed }),
        2 => (at(), any::<u16>()).prop_map(|(at, add)| Step::Update { at, add }),
        3 => (at(), how(), any::<u16>()).prop_map(|(at, how, add)| Step::Lock { at, how, add }),
        2 => Just(Step::Unlock),
        1 => at().prop_map(|at| Step::Elsewhere { at }),
        2 => at().prop_map(|at| Step::Clone { at }),
        2 => at().prop_map(|at| Step::Send { at }),
        2 => Just(Step::Receive),
        2 => at().prop_map(|at| Step::Drop { at }),
    ]
}

/// The handles there are, each with the number of its object, and the model.
struct Bench {
    handles: Vec<(usize, Handle)>,
    sender: Sender<Handle>,
    receiver: Receiver<Handle>,
    under_way: VecDeque<usize>,
    model: Vec<Vec<u16>>,
    /// Objects that this thread has locked.
    held: Vec<usize>,
}

fn add_to(all: &mut [u16], add: u16) {
    all.iter_mut().for_each(|number| *number = number.wrapping_add(add));
}

impl Bench {
    /// So many fit the socket's buffer: the test has one thread.
    const UNDER_WAY: usize = 8;

    fn new() -> Bench {
        let (sender, receiver) = pipe().unwrap();
        let (handles, under_way) = (Vec::new(), VecDeque::new());
        Bench { handles, sender, receiver, under_way, model: Vec::new(), held: Vec::new() }
    }

    /// Whether the result is what the model says: `None` where the lock is this thread's already.
    fn judge<T: PartialEq + std::fmt::Debug>(
        &self,
        object: usize,
        found: Result<T>,
        right: T,
    ) -> TestCaseResult {
        match found {
            Ok(found) => prop_assert_eq!((found, self.held.contains(&object)), (right, false)),
            Err(Error::AlreadyHeld) => prop_assert!(self.held.contains(&object)),
            Err(other) => prop_assert!(false, "{}", other),
        }
        Ok(())
    }

    /// Until the end, or the guard of the call is to be dropped.
    fn run(&mut self, steps: &mut slice::Iter<'_, Step>) -> TestCaseResult {
        while let Some(step) = steps.next() {
            let at = match step {
                Step::New { array, content } => {
                    self.handles.push((self.model.len(), Handle::new(*array, content)));
                    self.model.push(content.clone());
                    continue;
                }
                Step::Unlock if self.held.is_empty() => continue,
                Step::Unlock => return Ok(()),
                Step::Receive => {
                    let Some(object) = self.under_way.pop_front() else { continue };
                    let handle = self.receiver.recv().unwrap();
                    self.judge(object, handle.get(), self.model[object].clone())?;
                    self.handles.push((object, handle));
                    continue;
                }
                _ if self.handles.is_empty() => continue,
                Step::Get { at }
                | Step::Element { at, .. }
                | Step::Set { at, .. }
                | Step::Update { at, .. }
                | Step::Lock { at, .. }
                | Step::Elsewhere { at }
                | Step::Clone { at }
                | Step::Send { at }
                | Step::Drop { at } => at % self.handles.len(),
            };
            self.act(step, at, steps)?;
        }
        Ok(())
    }

    fn act(&mut self, step: &Step, at: usize, steps: &mut slice::Iter<'_, Step>) -> TestCaseResult {
        let (object, handle) = self.handles[at].clone();
        let held = self.held.contains(&object);
        match step {
            Step::Get { .. } => self.judge(object, handle.get(), self.model[object].clone())?,
            Step::Element { index, value, .. } => {
                let Handle::Array(array) = &handle else { return Ok(()) };
                let len = self.model[object].len();
                if *index >= len {
                    let beyond = [array.get(*index).map(drop), array.set(*index, *value)];
                    let is_so = |found: &Result<()>| matches!(found, Err(Error::OutOfBounds { index: i, len: l }) if (i, l) == (index, &len));
                    prop_assert!(beyond.iter().all(is_so), "{:?}", beyond);
                    return Ok(());
                }
                self.judge(object, array.get(*index), self.model[object][*index])?;
                self.judge(object, array.set(*index, *value), ())?;
                if !held {
                    self.model[object][*index] = *value;
                }
            }
            Step::Set { seed, .. } => {
                let len = self.model[object].len() as u16;
                let content: Vec<u16> = (0..len).map(|n| n.wrapping_mul(31).wrapping_add(*seed)).collect();
                self.judge(object, handle.set(&content), ())?;
                if !held {
                    self.model[object] = content;
                }
            }
            Step::Update { add, .. } => {
                self.judge(object, handle.update(|all| add_to(all, *add)), ())?;
                if !held {
                    add_to(&mut self.model[object], *add);
                }
            }
            Step::Lock { how, add, .. } => handle.locked(*how, |guard| match guard {
                Ok(all) => {
                    prop_assert!(!held && *all == *self.model[object]);
                    add_to(all, *add);
                    add_to(&mut self.model[object], *add);
                    self.held.push(object);
                    self.run(steps)?;
                    prop_assert_eq!(self.held.pop(), Some(object));
                    prop_assert!(*all == *self.model[object]);
                    Ok(())
                }
                Err(error) => self.judge(object, Err(error), ()),
            })?,
            Step::Elsewhere { .. } => {
                let other = || handle.locked(How::Try, |guard| guard.map(|all| all.to_vec()));
                let found = std::thread::scope(|scope| scope.spawn(other).join().unwrap());
                match found {
                    Ok(found) => prop_assert!(!held && found == self.model[object]),
                    Err(error) => prop_assert!(held && matches!(error, Error::WouldBlock), "{}", error),
                }
            }
            Step::Clone { .. } => self.handles.push((object, handle.clone())),
            Step::Send { .. } if self.under_way.len() < Bench::UNDER_WAY => {
                self.handles.swap_remove(at);
                self.sender.send(handle.clone()).map_err(|failed| failed.to_string()).unwrap();
                self.under_way.push_back(object);
            }
            Step::Drop { .. } => drop(self.handles.swap_remove(at)),
            _ => {}
        }
        let state = if held { (true, Some(std::process::id())) } else { (false, None) };
        prop_assert_eq!(handle.lock_state(), state);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against plain values.
    #[test]
    fn values_and_arrays(steps in vec(step(), 0..80)) {
        let _leaks = leaks();
        let mut bench = Bench::new();
        let mut steps = steps.iter();
        bench.run(&mut steps)?;
        // What is under way is not lost with the last handle here.
        bench.handles.clear();
        while let Some(object) = bench.under_way.pop_front() {
            prop_assert_eq!(bench.receiver.recv().unwrap().get().unwrap(), &bench.model[object][..]);
        }
    }
}
