//! Calls of the known names.

use super::{
    heap::{MAX_AXES, MAX_OBJECTS},
    machine::Machine,
    objects::{Global, Object, Ref, Storage, Tensor},
};

impl<'a> Machine<'_, 'a> {
    /// `('storage', class, key, device, elements)`; old files have a sixth member, for a view: its key, start and length.
    pub(super) fn storage(&self, id: Ref) -> Result<Storage<'a>, String> {
        let items = self.heap.items(id)?;
        let [kind, class, key, _device, count, view @ ..] = items else {
            return Err("a storage is described by too few values".into());
        };
        let (Some("storage"), Object::Global(Global::Storage(dtype)), Some(key)) =
            (self.heap.text(*kind), self.heap.get(*class), self.heap.text(*key))
        else {
            return Err("an outside object that is no storage".into());
        };
        let number = |at: Ref| usize::try_from(self.heap.int(at)?).map_err(|_| "a negative count".to_owned());
        Ok(match view.first().map(|&view| self.heap.get(view)) {
            None | Some(Object::None) => Storage {
                key,
                dtype: *dtype,
                count: number(*count)?,
                start: 0,
            },
            Some(Object::Tuple(view)) if view.len() == 3 => Storage {
                key,
                dtype: *dtype,
                count: number(view[2])?,
                start: number(view[1])?,
            },
            Some(_) => return Err("a storage's view is not described by three values".into()),
        })
    }

    /// The result of a known name for its arguments.
    pub(super) fn call(&mut self, callable: Ref, arguments: Ref) -> Result<Object<'a>, String> {
        let Object::Global(global) = self.heap.get(callable) else {
            return match self.heap.get(callable) {
                Object::Opaque => Ok(Object::Opaque),
                _ => Err("a call of something that is no function".into()),
            };
        };
        let items = self.heap.items(arguments)?;
        let first = items.first().copied();
        Ok(match global {
            Global::OrderedDict => match first {
                None => Object::Dict(Vec::new()),
                Some(pairs) => Object::Dict(self.pairs(pairs)?),
            },
            Global::Size => match first.map(|list| self.heap.items(list)) {
                None => Object::Tuple(Vec::new()),
                Some(items) => match items? {
                    items if items.len() <= MAX_AXES => Object::Tuple(items.to_vec()),
                    _ => return Err(format!("a tensor of more than {MAX_AXES} axes")),
                },
            },
            Global::Rebuild(n) if items.len() >= *n => self.tensor(items, *n == 7)?,
            Global::RebuildParameter => match first.map(|at| self.heap.get(at)) {
                Some(Object::Tensor(tensor)) => Object::Tensor(tensor.clone()),
                _ => return Err("a parameter without its tensor".into()),
            },
            Global::ParameterDict => Object::Module(None),
            Global::Script => Object::Script(None),
            Global::Opaque => Object::Opaque,
            Global::Rebuild(_) => return Err("a tensor is described by too few values".into()),
            Global::Storage(_) | Global::Dtype(_) => {
                return Err("a call of something that is no function".into());
            }
        })
    }

    /// Called by many, a short list would become a great memory: so copies are counted.
    fn pairs(&mut self, list: Ref) -> Result<Vec<(Ref, Ref)>, String> {
        self.copied += self.heap.items(list)?.len();
        if self.copied > MAX_OBJECTS {
            return Err("the pickle is too large".into());
        }
        let pair = |&at: &Ref| match self.heap.items(at)? {
            [key, value] => Ok((*key, *value)),
            _ => Err("a member that is no pair".to_owned()),
        };
        self.heap.items(list)?.iter().map(pair).collect()
    }

    /// `(storage, offset, shape, strides, ..)`; the third version has the type as its seventh value.
    fn tensor(&self, items: &[Ref], typed: bool) -> Result<Object<'a>, String> {
        let Object::Storage(storage) = self.heap.get(items[0]) else {
            return Err("a tensor without its storage".into());
        };
        let dtype = match typed.then(|| self.heap.get(items[6])) {
            Some(Object::Global(Global::Dtype(dtype))) => Some(*dtype),
            Some(_) => return Err("a tensor without its type".into()),
            None => storage.dtype,
        };
        Ok(Object::Tensor(Box::new(Tensor {
            storage: **storage,
            dtype: dtype.ok_or("a tensor without a type")?,
            offset: self.heap.int(items[1])?,
            shape: self.heap.sizes(items[2])?,
            strides: self.heap.sizes(items[3])?,
        })))
    }
}
