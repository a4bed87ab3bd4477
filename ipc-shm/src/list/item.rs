//! What a list holds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An item of a [`ShareableList`](crate::ShareableList): Python's `None`, bool, int (of 64 bits), float, str and bytes.
///
/// ```
/// use ipc_shm::Item;
/// let items: Vec<Item> = vec![().into(), true.into(), (-1).into(), 0.5.into(), "text".into(), b"\0\0".into()];
/// assert_eq!(items[4], Item::Str("text".to_owned()));
/// assert_eq!(items[4].to_string(), "text");
/// assert_ne!(Item::from(1), Item::from(1.0)); // Python compares them as numbers
/// ```
#[derive(Clone, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Item {
    /// Nothing.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Item {
    /// The number, if it is a whole one.
    ///
    /// ```
    /// use ipc_shm::{Item, ShareableList};
    /// let list = ShareableList::new([1.into(), "one".into()])?;
    /// if let Some(n) = list.get(0)?.as_int() {
    ///     list.set(0, n + 1)?;
    /// }
    /// assert_eq!((list.get(0)?.as_int(), list.get(1)?.as_str()), (Some(2), Some("one")));
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    pub fn as_int(&self) -> Option<i64> {
        if let Item::Int(number) = self { Some(*number) } else { None }
    }

    /// The number, if it is a floating one.
    pub fn as_float(&self) -> Option<f64> {
        if let Item::Float(number) = self { Some(*number) } else { None }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Item::Bool(value) = self { Some(*value) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Item::Str(text) = self { Some(text) } else { None }
    }

    /// The bytes, if it is bytes; of a text, `None`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Item::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        matches!(self, Item::None)
    }

    /// The bytes of text and bytes, which stand in a place of their own.
    pub(super) fn long(&self) -> Option<&[u8]> {
        match self {
            Item::Str(text) => Some(text.as_bytes()),
            Item::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// How many bytes its place has in a new list: for text and bytes the next multiple of 8 above the length, else 8.
    pub(super) fn capacity(&self) -> Option<usize> {
        (self.long().map_or(0, <[u8]>::len) / 8 + 1).checked_mul(8)
    }
}

/// The number, the text; bytes as Rust writes them (`b"\x00"`).
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::None => f.write_str("None"),
            Item::Bool(value) => value.fmt(f),
            Item::Int(number) => number.fmt(f),
            Item::Float(number) => number.fmt(f),
            Item::Str(text) => text.fmt(f),
            Item::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

impl From<()> for Item {
    fn from((): ()) -> Item {
        Item::None
    }
}

/// `None` becomes [`Item::None`].
impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(item: Option<T>) -> Item {
        item.map_or(Item::None, Into::into)
    }
}

/// `From` for what becomes one of an item's forms.
macro_rules! from {
    ($($given:ty => $form:ident;)*) => {
        $(
            impl From<$given> for Item {
                fn from(value: $given) -> Item {
                    Item::$form(value.into())
                }
            }
        )*
    };
}

from! {
    bool => Bool;
    i8 => Int;
    i16 => Int;
    i32 => Int;
    i64 => Int;
    u8 => Int;
    u16 => Int;
    u32 => Int;
    f32 => Float;
    f64 => Float;
    &str => Str;
    String => Str;
    &[u8] => Bytes;
    Vec<u8> => Bytes;
}

/// A number that 64 bits with a sign do not hold is given back. (So `usize` and `u64` have no `From`.)
///
/// ```
/// use ipc_shm::Item;
/// assert_eq!(Item::try_from(vec![0; 3].len()), Ok(Item::Int(3)));
/// assert_eq!(Item::try_from(u64::MAX), Err(u64::MAX));
/// ```
impl TryFrom<u64> for Item {
    type Error = u64;

    fn try_from(number: u64) -> Result<Item, u64> {
        i64::try_from(number).map(Item::Int).map_err(|_| number)
    }
}

impl TryFrom<usize> for Item {
    type Error = usize;

    fn try_from(number: usize) -> Result<Item, usize> {
        i64::try_from(number).map(Item::Int).map_err(|_| number)
    }
}

impl<const N: usize> From<&[u8; N]> for Item {
    fn from(bytes: &[u8; N]) -> Item {
        Item::Bytes(bytes.to_vec())
    }
}
