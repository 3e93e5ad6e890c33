//! Names of stored objects. They are structured, so that each adapter picks its own physical layout
//! and none parses another's strings.

use bytes::Bytes;

/// The kinds of objects that the shim stores. The discriminant is durable: adapters may use it in
/// physical names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Commit records, one in each group.
    Commit = 1,
    /// Notes of the first protocol: "look for the commit record of this attempt", grouped by
    /// minute.
    Intent = 2,
    /// Version entries, grouped by key.
    Version = 3,
    /// Parts of large values, grouped by the attempt that wrote them.
    Blob = 4,
    /// Notes of the first protocol: "finish collecting", grouped by minute.
    Collect = 5,
    /// Notes of the first protocol: "older versions may have been collected", one for each key.
    Marker = 6,
    /// Facts about a node, written by the node (first protocol).
    Node = 7,
    /// Leases on maintenance (first protocol).
    Lease = 8,
    /// Facts about the store: its format, the mark, and the notes of sweeps.
    Store = 9,
}

impl Space {
    /// All spaces, in the order of their discriminants.
    pub const ALL: [Space; 9] = [
        Space::Commit,
        Space::Intent,
        Space::Version,
        Space::Blob,
        Space::Collect,
        Space::Marker,
        Space::Node,
        Space::Lease,
        Space::Store,
    ];

    /// Returns the space's name, for messages and for readable physical names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Space::Commit => "commit",
            Space::Intent => "intent",
            Space::Version => "version",
            Space::Blob => "blob",
            Space::Collect => "collect",
            Space::Marker => "marker",
            Space::Node => "node",
            Space::Lease => "lease",
            Space::Store => "store",
        }
    }
}

/// The name of one stored object: a space, a group within it, and an item within the group.
///
/// Group and item are arbitrary bytes (a group may be a user's key: any UTF-8, `/` an ordinary
/// byte). The item may be empty. Two names are the same object only if all three parts are equal.
/// Order is byte order, of groups and of items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The kind of object.
    pub space: Space,
    /// The group: [`Store::groups`](crate::Store::groups) lists the groups of a space, and
    /// [`Store::list`](crate::Store::list) the items of a group. Never empty.
    pub group: Bytes,
    /// The object within the group.
    pub item: Bytes,
}

impl Name {
    /// The longest group, in bytes: a key of 1 KiB and a bucket's name (63 bytes) with its
    /// separator.
    pub const GROUP_BYTES_MAX: usize = 1024 + 64;
    /// The longest item, in bytes.
    pub const ITEM_BYTES_MAX: usize = 256;

    /// Makes a name from its parts.
    ///
    /// # Panics
    /// Panics if the group is empty or a part is longer than its bound: names are made by this
    /// project's code, from parsed keys.
    pub fn new(space: Space, group: impl Into<Bytes>, item: impl Into<Bytes>) -> Name {
        let name = Name { space, group: group.into(), item: item.into() };
        assert!(!name.group.is_empty(), "a name's group is never empty");
        assert!(
            name.group.len() <= Name::GROUP_BYTES_MAX,
            "a group of {} bytes is too long",
            name.group.len()
        );
        assert!(name.item.len() <= Name::ITEM_BYTES_MAX, "an item of {} bytes is too long", name.item.len());
        name
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.space.as_str(), self.group.escape_ascii(), self.item.escape_ascii())
    }
}
