//! Changes to a file that keep most of its structure, so that what is deep inside is reached.

use super::{random::Random, seeds::Seed, support::writer};

/// An element that is taken apart as far as it can be, also inside strings.
#[derive(Clone)]
enum Node {
    Leaf {
        tag: u8,
        content: Vec<u8>,
    },
    Tree {
        tag: u8,
        form: Form,
        children: Vec<Node>,
    },
    /// Bytes that are no element.
    Raw(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Form {
    Definite,
    Indefinite,
    /// A primitive string whose content is elements.
    Wrapped,
}

/// A damaged file.
pub(crate) fn mutate(from: &Seed, other: &Seed, random: &mut Random) -> Vec<u8> {
    // A third with a MAC that fits, so that the damage is looked at.
    let safe = auth_safe(&from.file).filter(|_| random.below(3) > 0);
    let (whole, donor) = match &safe {
        Some(safe) => (safe, auth_safe(&other.file)),
        None => (&from.file, None),
    };
    let mut tree = parse(whole, 0);
    let donor = parse(donor.as_ref().unwrap_or(&other.file), 0);
    for _ in 0..=random.below(3) {
        let target = random.below(count(&tree));
        change(&mut tree, target, &donor, random);
    }
    let mut bytes = encode(&tree);
    if random.below(4) == 0 {
        damage(&mut bytes, random);
    }
    match safe {
        Some(_) => {
            let mac = (random.below(8) > 0).then(|| mac(&bytes));
            writer::pfx(&bytes, mac)
        }
        None => bytes,
    }
}

/// As `writer::sha1_mac`, hashed once.
fn mac(safe: &[u8]) -> Vec<u8> {
    use ctk_crypto::{Pkcs12Purpose, hmac, pkcs12_kdf};
    use ctk_token::Digest;
    let password = super::seeds::PASSWORD.encode_utf16().chain([0]);
    let password: Vec<u8> = password.flat_map(u16::to_be_bytes).collect();
    let mut key = [0; 20];
    let purpose = Pkcs12Purpose::Mac;
    pkcs12_kdf(Digest::Sha1, purpose, &password, b"salt", 1, &mut key).unwrap();
    let mac = hmac(Digest::Sha1, &key, safe).unwrap();
    writer::mac_data(writer::SHA1, &mac, b"salt", 1)
}

/// What the MAC of a file is over, if it is in one piece.
fn auth_safe(file: &[u8]) -> Option<Vec<u8>> {
    (file[1] != 0x80).then(|| {
        let safes = writer::safes(file);
        writer::sequence(&safes)
    })
}

/// Strings that are elements again are taken apart so often: safes, bags, keys.
const MAX_WRAPPED: usize = 4;

fn parse(mut bytes: &[u8], wrapped: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        match parse_one(bytes, wrapped) {
            Some((node, rest)) => {
                nodes.push(node);
                bytes = rest;
            }
            None => {
                nodes.push(Node::Raw(bytes.to_vec()));
                break;
            }
        }
    }
    nodes
}

fn parse_one(bytes: &[u8], wrapped: usize) -> Option<(Node, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if first == 0x80 && tag & 0x20 != 0 {
        let (mut children, mut rest) = (Vec::new(), rest);
        while let Some(after) = match rest {
            [0, 0, after @ ..] => {
                let form = Form::Indefinite;
                return Some((
                    Node::Tree {
                        tag,
                        form,
                        children,
                    },
                    after,
                ));
            }
            _ => Some(rest),
        } {
            let (child, after) = parse_one(after, wrapped)?;
            children.push(child);
            rest = after;
        }
        return None;
    }
    let (len, rest) = match first {
        ..0x80 => (usize::from(first), rest),
        _ => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = octets.iter().try_fold(0_usize, |len, octet| {
                Some(len.checked_mul(0x100)? + usize::from(*octet))
            })?;
            (len, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(len)?;
    let constructed = tag & 0x20 != 0;
    let is_string = tag == 0x04 && wrapped < MAX_WRAPPED && content.first() == Some(&0x30);
    let form = if constructed {
        Form::Definite
    } else {
        Form::Wrapped
    };
    let inside = wrapped + usize::from(is_string);
    let children = match constructed || is_string {
        true => parse(content, inside),
        false => Vec::new(),
    };
    let is_tree = constructed || (is_string && !children.iter().any(|n| matches!(n, Node::Raw(_))));
    let node = match is_tree {
        true => Node::Tree {
            tag,
            form,
            children,
        },
        false => Node::Leaf {
            tag,
            content: content.to_vec(),
        },
    };
    Some((node, rest))
}

fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for node in nodes {
        match node {
            Node::Raw(raw) => bytes.extend_from_slice(raw),
            Node::Leaf { tag, content } => bytes.extend(writer::tlv(*tag, content)),
            Node::Tree {
                tag,
                form: Form::Indefinite,
                children,
            } => {
                bytes.extend([*tag, 0x80]);
                bytes.extend(encode(children));
                bytes.extend([0, 0]);
            }
            Node::Tree { tag, children, .. } => bytes.extend(writer::tlv(*tag, &encode(children))),
        }
    }
    bytes
}

fn count(nodes: &[Node]) -> usize {
    let inside = |node: &Node| match node {
        Node::Tree { children, .. } => count(children),
        _ => 0,
    };
    nodes.iter().map(|node| 1 + inside(node)).sum()
}

/// The node of this number, in the order in which they stand.
fn node(nodes: &[Node], number: usize) -> Option<&Node> {
    let mut left = number;
    for node_here in nodes {
        let size = count(std::slice::from_ref(node_here));
        if left == 0 {
            return Some(node_here);
        }
        if left < size {
            let Node::Tree { children, .. } = node_here else {
                return None;
            };
            return node(children, left - 1);
        }
        left -= size;
    }
    None
}

/// Changes the node of this number.
fn change(nodes: &mut Vec<Node>, number: usize, donor: &[Node], random: &mut Random) {
    let mut left = number;
    for index in 0..nodes.len() {
        let size = count(std::slice::from_ref(&nodes[index]));
        if left == 0 {
            return change_at(nodes, index, donor, random);
        }
        if left < size {
            let Node::Tree { children, .. } = &mut nodes[index] else {
                return;
            };
            return change(children, left - 1, donor, random);
        }
        left -= size;
    }
}

fn change_at(nodes: &mut Vec<Node>, index: usize, donor: &[Node], random: &mut Random) {
    match random.below(12) {
        0 => drop(nodes.remove(index)),
        1 => nodes.insert(index, nodes[index].clone()),
        2 => {
            let other = random.below(nodes.len());
            nodes.swap(index, other);
        }
        3 => {
            if let Some(other) = node(donor, random.below(count(donor))) {
                nodes[index] = other.clone();
            }
        }
        4 => {
            if let Some(other) = node(donor, random.below(count(donor))) {
                nodes.insert(index, other.clone());
            }
        }
        5 => wrap(nodes, index, random),
        6 => many(nodes, index, random),
        7 => claim(nodes, index, random),
        _ => alter(&mut nodes[index], random),
    }
}

/// Puts a node inside others of one kind.
fn wrap(nodes: &mut [Node], index: usize, random: &mut Random) {
    let tag = random.one_of(&[0x30, 0x31, 0x24, 0xa0, 0xa1]);
    let form = random.one_of(&[Form::Definite, Form::Indefinite]);
    for _ in 0..random.one_of(&[1, 2, 31, 32, 33, 200]) {
        let children = vec![nodes[index].clone()];
        nodes[index] = Node::Tree {
            tag,
            form,
            children,
        };
    }
}

/// Repeats a node so often that it may be too much.
fn many(nodes: &mut Vec<Node>, index: usize, random: &mut Random) {
    let size = encode(std::slice::from_ref(&nodes[index])).len();
    let times = random
        .one_of(&[2, 17, 300, 5000])
        .min(200_000 / size.max(1));
    for _ in 0..times {
        nodes.insert(index, nodes[index].clone());
    }
}

/// Writes another length than the node has.
fn claim(nodes: &mut [Node], index: usize, random: &mut Random) {
    let mut bytes = encode(std::slice::from_ref(&nodes[index]));
    let header = bytes.len().min(2);
    let length: &[u8] = random.one_of(&[
        &[0x00][..],
        &[0x7f],
        &[0x80],
        &[0x81, 0x00],
        &[0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x84, 0x00, 0x00, 0x00, 0x10],
        &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x88, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0xff],
    ]);
    bytes.splice(header.min(1)..header, length.iter().copied());
    nodes[index] = Node::Raw(bytes);
}

/// Changes tag, form or content of a node.
fn alter(node: &mut Node, random: &mut Random) {
    let tags = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x14, 0x17, 0x18, 0x1c, 0x1e, 0x1f,
        0x24, 0x30, 0x31, 0x3f, 0x80, 0xa0, 0xa1, 0xff,
    ];
    match node {
        Node::Raw(bytes) => damage(bytes, random),
        Node::Tree {
            tag,
            form,
            children,
        } => match random.below(4) {
            0 => *tag = random.one_of(&tags),
            1 => *form = random.one_of(&[Form::Definite, Form::Indefinite]),
            2 => children.clear(),
            _ => children.reverse(),
        },
        Node::Leaf { tag, content } => match random.below(6) {
            0 => *tag = random.one_of(&tags),
            1 => content.clear(),
            2 => {
                let numbers: [&[u8]; 9] = [
                    &[0],
                    &[1],
                    &[2],
                    &[0x7f],
                    &[0x80],
                    &[0xff],
                    &[0x01, 0, 0],
                    &[0x7f, 0xff, 0xff, 0xff],
                    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                ];
                *content = random.one_of(&numbers).to_vec();
            }
            3 => {
                let len = random.one_of(&[1, 8, 16, 255, 256, 4096, 70_000]);
                content.resize(len, random.below(256) as u8);
            }
            _ => damage(content, random),
        },
    }
}

/// Changes bytes without a look at what they are.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return bytes.push(random.below(256) as u8);
    }
    let start = random.below(bytes.len());
    let end = bytes.len().min(start + 1 + random.below(16));
    match random.below(6) {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end)),
        2 => bytes.extend_from_within(start..end),
        3 => bytes[start] ^= 1 << random.below(8),
        4 => bytes[start] = random.one_of(&[0x00, 0x1f, 0x30, 0x7f, 0x80, 0x84, 0xff]),
        _ => bytes[start] = random.below(256) as u8,
    }
}
