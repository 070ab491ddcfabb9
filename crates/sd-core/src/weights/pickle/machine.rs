//! A pickle machine that can build tensors and plain containers, and nothing else. It calls no code: the names that a pickle may use are a
//! list ([`Global`]), and they make nothing but data.
//!
//! Source: Python's `pickletools`, protocols 2 to 5, without the opcodes of protocols 0 and 1 that no later writer uses.

use std::collections::HashMap;

use super::{
    heap::{Heap, MAX_OBJECTS},
    objects::{Global, Object, Ref},
};

const MAX_MARKS: usize = 10_000;

/// Reads one pickle from `bytes`, from `*at` on, and leaves `*at` behind it.
///
/// # Errors
/// A fault, and the byte where it is.
pub(super) fn read<'a>(heap: &mut Heap<'a>, bytes: &'a [u8], at: &mut usize) -> Result<Ref, String> {
    let mut machine = Machine {
        heap,
        bytes,
        at: *at,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    loop {
        let start = machine.at;
        match machine.step() {
            Ok(None) if machine.is_too_large() => return Err("the pickle is too large".into()),
            Ok(None) => {}
            Ok(Some(root)) => {
                *at = machine.at;
                return Ok(root);
            }
            Err(reason) => return Err(format!("{reason} (at byte {start} of its pickle)")),
        }
    }
}

pub(super) struct Machine<'h, 'a> {
    pub(super) heap: &'h mut Heap<'a>,
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    /// Members that were copied from lists into dictionaries.
    pub(super) copied: usize,
}

const ENDS: &str = "the pickle ends too early: cut off; download or save the file again";
const EMPTY: &str = "the pickle takes more from its stack than is there";

impl<'a> Machine<'_, 'a> {
    /// One opcode; the root if it was the last.
    fn step(&mut self) -> Result<Option<Ref>, String> {
        let [code] = self.array()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => match self.array()? {
                [2..=5] => {}
                [version] => return Err(format!("pickle protocol {version} is unknown")),
            },
            // A frame's length matters to streams alone.
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(Object::None)?,
            0x88 => self.push(Object::Bool(true))?,
            0x89 => self.push(Object::Bool(false))?,
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(n.into()))?;
            }
            b'K' => {
                let [n] = self.array()?;
                self.push(Object::Int(n.into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(n.into()))?;
            }
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.push(Object::Float(x))?;
            }
            b'X' => self.text::<4>()?,
            0x8c => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'C' => self.binary::<1>()?,
            b'B' => self.binary::<4>()?,
            0x8e | 0x96 => self.binary::<8>()?,
            // Python 2's strings: names mostly, but bytes may be in them as well.
            b'U' => self.string::<1>()?,
            b'T' => self.string::<4>()?,
            b']' | 0x8f => self.push(Object::List(Vec::new()))?,
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b')' => self.push(Object::Tuple(Vec::new()))?,
            b't' => {
                let items = self.marked()?;
                self.push(Object::Tuple(items))?;
            }
            b'l' | 0x91 => {
                let items = self.marked()?;
                self.push(Object::List(items))?;
            }
            b'd' => {
                let items = self.marked()?;
                self.push(Object::Dict(Vec::new()))?;
                self.set(&items)?;
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84));
                let from = from.filter(|&from| from >= self.floor()).ok_or(EMPTY)?;
                let items = self.stack.split_off(from);
                self.push(Object::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set(&items)?;
            }
            b'q' => self.put::<1>()?,
            b'r' => self.put::<4>()?,
            0x94 => {
                let next = self.memo.len() as u64;
                self.memo.insert(next, self.top()?);
            }
            b'h' => self.fetch::<1>()?,
            b'j' => self.fetch::<4>()?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = Global::find(module, name)?;
                self.push(Object::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |at| self.heap.text(at).ok_or("a name is not text");
                let global = Global::find(text(module)?, text(name)?)?;
                self.push(Object::Global(global))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Object::Storage(Box::new(storage)))?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(callable, arguments)?;
                self.push(made)?;
            }
            0x92 => {
                let (_keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.call(class, arguments)?;
                self.push(made)?;
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                match self.heap.get_mut(object) {
                    Object::Module(attributes) | Object::Script(attributes) => *attributes = Some(state),
                    // Attributes, such as a state dictionary's `_metadata`, that no tensor depends on.
                    Object::Dict(_) | Object::Tensor(_) | Object::List(_) | Object::Opaque => {}
                    _ => return Err("the state of something that can't have one".into()),
                }
            }
            _ => return Err(format!("opcode {code:#04x} is not one of a file of tensors")),
        }
        Ok(None)
    }

    fn is_too_large(&self) -> bool {
        let counts = [self.stack.len(), self.memo.len(), self.copied];
        counts.iter().any(|&n| n > MAX_OBJECTS) || self.marks.len() > MAX_MARKS
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        let found = *found.ok_or(ENDS)?;
        self.at += N;
        Ok(found)
    }

    /// A little-endian length of `N` bytes, then as many bytes.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], String> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        let end = usize::try_from(u64::from_le_bytes(wide)).ok();
        let end = end.and_then(|n| self.at.checked_add(n)).ok_or(ENDS)?;
        let found = self.bytes.get(self.at..end).ok_or(ENDS)?;
        self.at = end;
        Ok(found)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or(ENDS)?;
        self.at += end + 1;
        Ok(std::str::from_utf8(&rest[..end]).map_err(|_| "a name is not text")?)
    }

    fn long<const N: usize>(&mut self) -> Result<(), String> {
        let digits = self.counted::<N>()?;
        if digits.len() > 8 {
            return self.push(Object::Bytes(digits));
        }
        let negative = digits.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..digits.len()].copy_from_slice(digits);
        self.push(Object::Int(i64::from_le_bytes(wide)))
    }

    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let text = std::str::from_utf8(self.counted::<N>()?).map_err(|_| "a text is not UTF-8")?;
        self.push(Object::Text(text))
    }

    fn binary<const N: usize>(&mut self) -> Result<(), String> {
        let bytes = self.counted::<N>()?;
        self.push(Object::Bytes(bytes))
    }

    fn string<const N: usize>(&mut self) -> Result<(), String> {
        let bytes = self.counted::<N>()?;
        self.push(std::str::from_utf8(bytes).map_or(Object::Bytes(bytes), Object::Text))
    }

    fn push(&mut self, object: Object<'a>) -> Result<(), String> {
        let object = self.heap.add(object)?;
        self.stack.push(object);
        Ok(())
    }

    /// The stack's length that the innermost mark protects.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Ref, String> {
        Ok(*self.stack[self.floor()..].last().ok_or(EMPTY)?)
    }

    fn pop(&mut self) -> Result<Ref, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Everything above the innermost mark.
    fn marked(&mut self) -> Result<Vec<Ref>, String> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: &[Ref]) -> Result<(), String> {
        let list = self.top()?;
        match self.heap.get_mut(list) {
            Object::List(list) => list.extend(items),
            Object::Opaque => {}
            _ => return Err("items for something that is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Ref]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key without its value".into());
        }
        let dict = self.top()?;
        match self.heap.get_mut(dict) {
            Object::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Object::Opaque => {}
            _ => return Err("members for something that is no dictionary".into()),
        }
        Ok(())
    }

    fn put<const N: usize>(&mut self) -> Result<(), String> {
        let place = self.index::<N>()?;
        self.memo.insert(place, self.top()?);
        Ok(())
    }

    fn fetch<const N: usize>(&mut self) -> Result<(), String> {
        let place = self.index::<N>()?;
        let found = self
            .memo
            .get(&place)
            .ok_or("something is used before it is there")?;
        self.stack.push(*found);
        Ok(())
    }

    fn index<const N: usize>(&mut self) -> Result<u64, String> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        Ok(u64::from_le_bytes(wide))
    }
}
