//! Frames with a body as owned parts: as any writer may write them, with any numbers and extensions.

use bytes::BufMut;
use bytes::BytesMut;

use super::super::codec::Reader;
use super::super::codec::Violation;
use super::super::codec::put_number;
use crate::ident::BoxId;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::wire::extensions::flag;
use crate::wire::extensions::put_extensions;
use crate::wire::frames::kind;
use crate::wire::introduction::Handle;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;
use crate::wire::introduction::MAX_HANDLES;

pub(crate) fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// The content of an introduction, owned.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) form: u8,
    pub(crate) id: [u8; 16],
    pub(crate) others: [[u8; 16]; 3],
    pub(crate) name: String,
    pub(crate) endpoints: Vec<String>,
    pub(crate) is_leased: bool,
    pub(crate) fingerprint: u64,
}

impl Told {
    /// Introduces a box of the reader by its name.
    pub(crate) fn your_name(name: &str) -> Told {
        Told {
            form: 0,
            id: [0; 16],
            others: [[0; 16]; 3],
            name: name.to_owned(),
            endpoints: Vec::new(),
            is_leased: false,
            fingerprint: 0,
        }
    }

    pub(crate) fn introduction(&self) -> Introduction<'_> {
        let (id, name) = (BoxId(self.id), self.name.as_str());
        let endpoint = self.endpoints.first().map_or("", String::as_str);
        let identity = match self.form {
            0 => Identity::YourName(name),
            1 => Identity::YourBox(id),
            2 => Identity::MyBox { id, name },
            3 => Identity::Third {
                node: Incarnation { node: NodeId(self.others[0]), epoch: Epoch(self.others[2]) },
                id,
                via: BoxId(self.others[1]),
                name,
                endpoints: self.endpoints.iter().map(String::as_str).collect(),
            },
            4 => Identity::Place { endpoint, name },
            6 => Identity::PlaceOf { node: NodeId(self.others[0]), endpoint, name },
            _ => Identity::YourPlace { endpoint, name },
        };
        Introduction { identity, is_leased: self.is_leased, fingerprint: self.fingerprint }
    }

    fn of(introduction: &Introduction<'_>) -> Told {
        let Introduction { identity, is_leased, fingerprint } = introduction;
        let plain = Told { is_leased: *is_leased, fingerprint: *fingerprint, ..Told::your_name("") };
        let owned = |text: &&str| (*text).to_owned();
        match identity {
            Identity::YourName(name) => Told { name: owned(name), ..plain },
            Identity::YourBox(id) => Told { form: 1, id: id.0, ..plain },
            Identity::MyBox { id, name } => Told { form: 2, id: id.0, name: owned(name), ..plain },
            Identity::Third { node, id, via, name, endpoints } => Told {
                form: 3,
                id: id.0,
                others: [node.node.0, via.0, node.epoch.0],
                name: owned(name),
                endpoints: endpoints.iter().map(owned).collect(),
                ..plain
            },
            Identity::PlaceOf { node, endpoint, name } => Told {
                form: 6,
                others: [node.0, [0; 16], [0; 16]],
                name: owned(name),
                endpoints: vec![owned(endpoint)],
                ..plain
            },
            Identity::Place { endpoint, name } | Identity::YourPlace { endpoint, name } => {
                let form = if matches!(identity, Identity::Place { .. }) { 4 } else { 5 };
                Told { form, name: owned(name), endpoints: vec![owned(endpoint)], ..plain }
            }
        }
    }
}

/// A handle in a frame, owned: the tag, the number and the introduction.
pub(crate) type Held = (u8, u64, Told);

pub(crate) fn handle((tag, number, told): &Held) -> Handle<'_> {
    match tag {
        0 => Handle::Use(*number),
        1 => Handle::Set(*number, told.introduction()),
        _ => Handle::Inline(told.introduction()),
    }
}

fn held(handle: &Handle<'_>) -> Held {
    match handle {
        Handle::Use(number) => (0, *number, Told::your_name("")),
        Handle::Set(number, introduction) => (1, *number, Told::of(introduction)),
        Handle::Inline(introduction) => (2, 0, Told::of(introduction)),
    }
}

/// A post as any writer may write it. An ask has the same parts, and an answer has them without the target.
#[derive(Clone, Debug)]
pub(crate) struct AnyPost {
    pub(crate) extensions: Option<Vec<(u64, Vec<u8>)>>,
    pub(crate) to: Held,
    pub(crate) handles: Option<Vec<Held>>,
    pub(crate) body: Vec<u8>,
}

impl AnyPost {
    /// Returns the payload of a post, an ask or an answer.
    pub(crate) fn written_as(&self, kind: u8, correlation: u64) -> Vec<u8> {
        written(|out| {
            let handles = if self.handles.is_some() { flag::HANDLES } else { 0 };
            out.put_u8(handles | if self.extensions.is_some() { flag::EXTENSIONS } else { 0 });
            if kind != kind::POST {
                put_number(out, correlation);
            }
            if let Some(extensions) = &self.extensions {
                let pairs: Vec<_> = extensions.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect();
                put_extensions(out, &pairs);
            }
            if kind != kind::ANSWER {
                handle(&self.to).put(out);
            }
            if let Some(handles) = &self.handles {
                put_number(out, handles.len() as u64);
                handles.iter().for_each(|held| handle(held).put(out));
            }
            out.put_slice(&self.body);
        })
    }

    /// Takes apart the payload of a post, an ask or an answer, without the meanings of its numbers. Returns its
    /// correlation, too, which is 0 if it has none.
    pub(crate) fn read(kind: u8, payload: &[u8]) -> Result<(u64, AnyPost), Violation> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8()?;
        let correlation = if kind == kind::POST { 0 } else { reader.number()? };
        let extensions = (flags & flag::EXTENSIONS != 0).then(|| pairs(&mut reader)).transpose()?;
        let to = match kind {
            kind::ANSWER => (2, 0, Told::your_name("")),
            _ => held(&Handle::read(&mut reader)?),
        };
        let handles = (flags & flag::HANDLES != 0).then(|| helds(&mut reader)).transpose()?;
        Ok((correlation, AnyPost { extensions, to, handles, body: reader.rest().to_vec() }))
    }

    /// Returns the first extension of that id.
    pub(crate) fn extension(&self, id: u64) -> Option<&[u8]> {
        let first = self.extensions.iter().flatten().find(|(of, _)| *of == id);
        first.map(|(_, bytes)| bytes.as_slice())
    }
}

fn helds(reader: &mut Reader<'_>) -> Result<Vec<Held>, Violation> {
    let count = reader.count(MAX_HANDLES)?;
    (0..count).map(|_| Handle::read(reader).map(|handle| held(&handle))).collect()
}

fn pairs(reader: &mut Reader<'_>) -> Result<Vec<(u64, Vec<u8>)>, Violation> {
    let mut block = Reader::new(reader.bytes()?);
    let mut pairs = Vec::new();
    while !block.is_empty() {
        pairs.push((block.number()?, block.bytes()?.to_vec()));
    }
    Ok(pairs)
}
