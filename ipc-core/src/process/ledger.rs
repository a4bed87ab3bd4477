//! What is known of one child: has it ended, and what did it send.
//!
//! The kernel gives an exit status once, and a socket gives a message once, but many may ask: threads that share a handle,
//! the sweep over all children, the parent's exit. So both are drawn from their [`Source`] under one lock and kept.
//! Nobody holds the lock while it waits: whoever wants to wait polls the descriptors, which is nobody's turn to take.
//!
//! | mail | means | becomes |
//! |---|---|---|
//! | awaited | nothing has come yet | *here* when a frame comes, *none* when none can come any more |
//! | here | a value, not yet handed out; or a failure, which everybody gets | *taken*, if it is a value |
//! | taken | somebody has the value | |
//! | none | the child ended, or closed its end, without one | |
//!
//! | status | means | becomes |
//! |---|---|---|
//! | none | the child runs, or has not been waited for | known, once; it never changes again |
//! | known | the zombie is gone | |
//!
//! Mail is looked for *after* the status was: what a child sent before its death is there when its death is.

use super::exit::ExitStatus;
use crate::primitive::mutant;
use crate::primitive::sync::Mutex;

/// Where a child's status and mail are drawn from.
pub trait Source {
    /// A value or a failure.
    type Mail;

    /// The exit status, given once; `None` while the child runs.
    fn reap(&self) -> Option<ExitStatus>;

    /// The next frame, without waiting.
    fn receive(&self) -> Receipt<Self::Mail>;

    /// The same once more, of what may be handed out again: a failure.
    fn again(_mail: &Self::Mail) -> Option<Self::Mail> {
        None
    }
}

/// What [`Source::receive`] found.
pub enum Receipt<M> {
    /// Nothing now.
    Empty,
    /// The child has become what it should, and begins.
    Entered,
    /// Value or failure; and the code with which the child means to leave, which counts where the kernel has none.
    Mail(M, i32),
    /// Nothing now nor later.
    Closed,
}

/// What [`Ledger::take`] gives.
#[derive(Debug, PartialEq)]
pub enum Mail<M> {
    /// It may still come.
    Awaited,
    /// Here it is.
    Here(M),
    /// Somebody else has it.
    Taken,
    /// The child has closed its end without; its status will say why.
    None,
}

/// See the module's documentation.
pub struct Ledger<M> {
    state: Mutex<State<M>>,
}

struct State<M> {
    mail: Mail<M>,
    entered: bool,
    announced: Option<i32>,
    status: Option<ExitStatus>,
}

impl<M> Default for Ledger<M> {
    fn default() -> Ledger<M> {
        Ledger::new()
    }
}

impl<M> Ledger<M> {
    /// Of a child that was just started.
    pub fn new() -> Ledger<M> {
        Ledger {
            state: Mutex::new(State { mail: Mail::Awaited, entered: false, announced: None, status: None }),
        }
    }

    /// The exit status; `None` while the child runs.
    pub fn status(&self, source: &impl Source<Mail = M>) -> Option<ExitStatus> {
        let mut state = self.state.lock();
        if state.status.is_none() || mutant::is("a status is not kept") {
            let mut status = source.reap()?;
            if status.is_unknown() && !mutant::is("an announced code is ignored") {
                state.draw(source);
                status = state.announced.map_or(status, ExitStatus::exited);
            }
            state.status = Some(status);
        }
        state.status
    }

    /// Takes the value or failure out, if it is there.
    pub fn take<S: Source<Mail = M>>(&self, source: &S) -> Mail<M> {
        let ended = self.status(source).is_some();
        let mut state = self.state.lock();
        if !(ended && mutant::is("the mail of the dead is not looked for")) {
            state.draw(source);
        }
        match std::mem::replace(&mut state.mail, Mail::Taken) {
            Mail::Awaited => {
                state.mail = if ended { Mail::None } else { Mail::Awaited };
                if ended { Mail::None } else { Mail::Awaited }
            }
            Mail::None => {
                state.mail = Mail::None;
                Mail::None
            }
            Mail::Here(mail) => {
                if let Some(again) = S::again(&mail)
                    && !mutant::is("a failure is given once")
                {
                    state.mail = Mail::Here(again);
                }
                Mail::Here(mail)
            }
            Mail::Taken => Mail::Taken,
        }
    }

    /// Takes what is here, if it is what is wanted; draws nothing.
    pub fn take_if(&self, wanted: impl Fn(&M) -> bool) -> Option<M> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.mail, Mail::Taken) {
            Mail::Here(mail) if wanted(&mail) => Some(mail),
            other => {
                state.mail = other;
                None
            }
        }
    }

    /// Puts mail in that comes from no [`Source`], that of a thread of this process, and only then has its end told by `end`: whoever
    /// finds that it has ended finds its mail.
    pub fn put(&self, mail: M, code: i32, end: impl FnOnce()) {
        if mutant::is("a thread ends before it puts") {
            end();
            return self.keep(mail, code);
        }
        self.keep(mail, code);
        end();
    }

    fn keep(&self, mail: M, code: i32) {
        let mut state = self.state.lock();
        state.mail = Mail::Here(mail);
        state.announced = Some(code);
    }

    /// Whether the child has said that it begins, or something that can only follow it; or can say nothing any more.
    pub fn has_entered(&self, source: &impl Source<Mail = M>) -> bool {
        let ended = self.status(source).is_some();
        let mut state = self.state.lock();
        if !(ended && mutant::is("the mail of the dead is not looked for")) {
            state.draw(source);
        }
        ended || state.entered || !matches!(state.mail, Mail::Awaited)
    }
}

impl<M> State<M> {
    fn draw(&mut self, source: &impl Source<Mail = M>) {
        while let Mail::Awaited = self.mail {
            match source.receive() {
                Receipt::Empty => return,
                // Said once. Whoever says it for ever is not listened to for ever.
                Receipt::Entered if self.entered => return,
                Receipt::Entered => self.entered = !mutant::is("an entry is not kept"),
                Receipt::Mail(mail, code) => {
                    self.mail = Mail::Here(mail);
                    self.announced = Some(code);
                }
                Receipt::Closed => {
                    self.mail = Mail::None;
                    if mutant::is("a closed socket is a death") {
                        self.status = Some(ExitStatus::unknown());
                    }
                }
            }
        }
    }
}
