//! The objects of a file's pickles, by number.

use super::objects::{Object, Ref, Storage};

/// Bounds of everything that a short pickle could make much of. Real checkpoints have some 70 thousand objects.
pub(super) const MAX_OBJECTS: usize = 1 << 19;
pub(super) const MAX_AXES: usize = 8;

/// All objects of a file's pickles.
#[derive(Default)]
pub(super) struct Heap<'a>(Vec<Object<'a>>);

impl<'a> Heap<'a> {
    pub fn get(&self, at: Ref) -> &Object<'a> {
        &self.0[at.0 as usize]
    }

    pub fn get_mut(&mut self, at: Ref) -> &mut Object<'a> {
        &mut self.0[at.0 as usize]
    }

    pub fn add(&mut self, object: Object<'a>) -> Result<Ref, String> {
        if self.0.len() == MAX_OBJECTS {
            return Err(format!("more than {MAX_OBJECTS} objects"));
        }
        self.0.push(object);
        Ok(Ref(self.0.len() as u32 - 1))
    }

    pub fn text(&self, at: Ref) -> Option<&'a str> {
        match self.get(at) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A member of a dictionary, or of a `ParameterDict`'s attributes; the last if there are several, as Python has it.
    pub fn member(&self, at: Ref, key: &str) -> Option<Ref> {
        match self.get(at) {
            Object::Dict(items) => items
                .iter()
                .rev()
                .find(|(name, _)| self.text(*name) == Some(key))
                .map(|(_, value)| *value),
            _ => None,
        }
    }

    /// All storages that were described.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.0.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage.as_ref()),
            _ => None,
        })
    }

    pub fn items(&self, at: Ref) -> Result<&[Ref], String> {
        match self.get(at) {
            Object::List(items) | Object::Tuple(items) => Ok(items),
            _ => Err("a list is missing".into()),
        }
    }

    pub fn sizes(&self, at: Ref) -> Result<Vec<i64>, String> {
        let items = self.items(at)?;
        if items.len() > MAX_AXES {
            return Err(format!("a tensor of more than {MAX_AXES} axes"));
        }
        items.iter().map(|&item| self.int(item)).collect()
    }

    pub fn int(&self, at: Ref) -> Result<i64, String> {
        match self.get(at) {
            Object::Int(n) => Ok(*n),
            _ => Err("a whole number is missing".into()),
        }
    }
}
