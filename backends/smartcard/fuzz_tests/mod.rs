//! Cards that answer with anything: every applet is read and used with honest answers that are
//! damaged on the way. Nothing of it may panic, go on for ever, or have a secret sent twice.
//!
//! By default a short walk that takes the same turns each time. With CTK_FUZZ_SECONDS=60 a walk of
//! that length, whose turns follow from a number that is printed; CTK_FUZZ_SEED=number takes them
//! again.

mod honest;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ctk_token::{
    AuthSecret, Curve, Item, KeyAlgorithm, KeyType, NewKey, Operation, Reason, Role, Token,
    TokenSession,
};
use parking_lot::Mutex;

use self::honest::{PublicKeyPoint, certificate, ec, open_pgp, piv, rsa};
use crate::{
    apdu::{Command, Le},
    atr,
    exchange::exchange,
    link::LinkError,
    recognition::recognize,
    testing::Wire,
    tlv::{self, Reader},
    token::CardToken,
};

/// How many cards a short walk meets.
const SHORT: usize = 400;
/// More than any card is worth: a certificate has 300 pieces at most, and there are 30 objects or
/// so.
const MAX_COMMANDS: usize = 30_000;

const PIN: &[u8] = b"123456";
const EXTENDED: &str = "3BFD1300008131FE158073C021C057597562694B657940";

/// Numbers that follow from a seed (xorshift64*).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

fn seed() -> (u64, Option<Duration>) {
    let number = |name| -> Option<u64> {
        let value = env::var(name).ok()?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is a number")),
        )
    };
    let seconds = number("CTK_FUZZ_SECONDS").map(Duration::from_secs);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let otherwise = if seconds.is_some() { now } else { 1 };
    let seed = number("CTK_FUZZ_SEED").unwrap_or(otherwise);
    println!("CTK_FUZZ_SEED={seed}");
    // Of zero nothing follows but zeros.
    (seed.max(1), seconds)
}

/// Walks until the time is over, or this many steps.
fn walk(steps: usize, mut step: impl FnMut(&mut Random)) {
    let (seed, time) = seed();
    let mut random = Random(seed);
    let end = time.map(|time| Instant::now() + time);
    let mut taken = 0;
    while end.map_or(taken < steps, |end| Instant::now() < end) {
        step(&mut random);
        taken += 1;
    }
    println!("{taken} steps");
}

/// A card that answers honestly most of the time.
struct Liar {
    honest: fn(&[u8]) -> Vec<u8>,
    random: Random,
    /// One answer in so many is damaged.
    rarely: usize,
    /// What GET RESPONSE is answered with.
    rest: Vec<u8>,
    other: Vec<u8>,
}

impl Liar {
    fn answer(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        let whole = match command {
            [_, 0xc0, ..] => std::mem::take(&mut self.rest),
            _ => (self.honest)(command),
        };
        let other = std::mem::replace(&mut self.other, whole.clone());
        let mut answer = whole;
        if self.random.below(self.rarely) == 0 {
            for _ in 0..=self.random.below(3) {
                self.damage(&mut answer, &other);
            }
        }
        match self.random.below(20 * self.rarely) {
            0 => return Err(LinkError::Reset),
            1 => return Err(LinkError::Mute(Reason::new("mute"))),
            2 => return Err(LinkError::Busy),
            3 if self.random.below(4) == 0 => return Err(LinkError::Removed),
            _ => {}
        }
        let is_short = !matches!(command, [_, _, _, _, 0, _, _, ..]);
        if is_short && answer.len() > 258 {
            self.rest = answer.split_off(256);
            let left = self.rest.len() - 2;
            answer.extend([0x61, u8::try_from(left).unwrap_or(0)]);
        }
        Ok(answer)
    }

    fn damage(&mut self, answer: &mut Vec<u8>, other: &[u8]) {
        const STATUS: [u16; 16] = [
            0x9000, 0x6100, 0x61ff, 0x6c00, 0x6c05, 0x6282, 0x6300, 0x63c0, 0x63c3, 0x6700, 0x6982,
            0x6983, 0x6985, 0x6a80, 0x6a82, 0x6d00,
        ];
        let random = &mut self.random;
        let at = random.below(answer.len());
        match random.below(9) {
            0 => {
                if let Some(byte) = answer.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                // Lengths are wrong by one or huge.
                if let Some(byte) = answer.get_mut(at.min(6)) {
                    *byte = [0, 1, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xff][random.below(9)];
                }
            }
            2 => answer.truncate(at),
            3 => {
                let more = random.below(40);
                answer.extend((0..more).map(|_| random.byte()));
            }
            4 | 5 => {
                let status = STATUS[random.below(STATUS.len())];
                answer.truncate(answer.len().saturating_sub(2));
                answer.extend(status.to_be_bytes());
            }
            6 => *answer = other.to_vec(),
            7 => {
                let len = random.below(30);
                *answer = (0..len).map(|_| random.byte()).collect();
            }
            _ => {
                let piece = answer.get(at..).unwrap_or_default().to_vec();
                answer.splice(at.min(answer.len())..at.min(answer.len()), piece);
            }
        }
    }
}

/// How often something worked, so that it is sure that everything was reached.
#[derive(Debug, Default)]
struct Reached {
    tokens: usize,
    contents: usize,
    logins: usize,
    operations: usize,
    changes: usize,
}

/// Uses everything that a token offers.
fn use_up(token: &Arc<CardToken>, wire: &Wire, random: &mut Random, reached: &mut Reached) {
    let begin_login = |session: &dyn TokenSession, role, secret: &[u8]| {
        wire.take_sent();
        let operation = session.begin_auth(role, None);
        let answer = operation.and_then(|operation| operation.finish(AuthSecret::Pin(secret)));
        sends_no_secret_twice(&wire.take_sent());
        usize::from(answer.is_ok())
    };
    let _ = token.info();
    let _ = token.load();
    let Ok(session) = token.create_session() else {
        return;
    };
    reached.logins += begin_login(&*session, Role::User, PIN);
    let contents = token.contents();
    for key in contents.keys() {
        let forms = [
            (Operation::Sign, KeyAlgorithm::RsaRaw, 256),
            (Operation::Sign, KeyAlgorithm::RsaPkcs1, 51),
            (Operation::Sign, KeyAlgorithm::EcdsaDigest, 32),
            (Operation::Decrypt, KeyAlgorithm::RsaRaw, 256),
            (Operation::Decrypt, KeyAlgorithm::RsaPkcs1, 256),
        ];
        let mut out = vec![0; 600];
        for (operation, algorithm, len) in forms {
            if !session.supports(operation, &key.id, algorithm) {
                continue;
            }
            if key.authenticates_always()
                && let Ok(operation) = session.begin_auth(Role::Context, Some(&key.id))
            {
                wire.take_sent();
                let _ = operation.finish(AuthSecret::Pin(PIN));
                sends_no_secret_twice(&wire.take_sent());
            }
            let input = vec![1; len];
            let answer = match operation {
                Operation::Decrypt => session.decrypt(&key.id, algorithm, &input, &mut out),
                _ => session.sign(&key.id, algorithm, &input, &mut out),
            };
            reached.operations += usize::from(answer.is_ok());
        }
        let PublicKeyPoint(peer) = PublicKeyPoint::of(&ec());
        let _ = session.key_exchange(&key.id, KeyAlgorithm::Ecdh, &peer, &mut out);
    }
    for item in &contents.items {
        if let Item::Data(data) = item {
            let _ = session.read(&data.id);
        }
    }
    let _ = session.random(&mut [0; 40]);
    wire.take_sent();
    let _ = session.change_pin(Role::User, AuthSecret::Pin(PIN), b"654321");
    sends_no_secret_twice(&wire.take_sent());
    session.end_auth(Role::User);
    let management = b"010203040506070801020304050607080102030405060708";
    let admin: &[u8] = match random.below(2) {
        0 => management,
        _ => b"12345678",
    };
    let _ = begin_login(&*session, Role::Admin, admin);
    reached.changes += usize::from(session.unblock_pin(PIN).is_ok());
    let _ = session.personalize();
    let _ = session.generate_key(&NewKey {
        key_type: KeyType::Ec(Curve::P256),
        identity: Some(&[1 + random.byte() % 4]),
        label: None,
    });
    let _ = session.import_certificate(Some(&[1]), &certificate(&rsa()));
    if let Some(item) = contents.items.first() {
        let _ = session.delete(item.id());
    }
    let _ = token.info();
}

/// Of VERIFY and its siblings, none with the same parameters and secret comes twice.
#[track_caller]
fn sends_no_secret_twice(sent: &[String]) {
    let data = |sent: &String| -> Option<String> {
        let is_secret = ["0020", "0024", "002C"].contains(&sent.get(..4)?);
        let len = usize::from_str_radix(sent.get(8..10)?, 16).ok()?;
        // Without Le, with which it would be another command and the same secret.
        let data = sent.get(..10 + 2 * len)?;
        (is_secret && len > 0).then(|| data.to_owned())
    };
    let mut secrets: Vec<_> = sent.iter().filter_map(data).collect();
    let count = secrets.len();
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), count, "{sent:?}");
}

#[test]
fn no_answer_of_a_card_does_harm() {
    let mut reached = Reached::default();
    walk(SHORT, |random| {
        let honest = [piv, open_pgp][random.below(2)];
        let mut wire = Wire::new();
        if random.below(2) == 0 {
            wire = wire.with_atr(EXTENDED);
        }
        if random.below(4) == 0 {
            wire = wire.with_in_use();
        }
        if random.below(8) == 0 {
            wire = wire.with_t0();
        }
        wire.set_alone(random.below(2) == 0);
        let liar = Liar {
            honest,
            random: random.clone(),
            rarely: [3, 10, 40, 1000][random.below(4)],
            rest: Vec::new(),
            other: Vec::new(),
        };
        random.next();
        let liar = Arc::new(Mutex::new(liar));
        let card = liar.clone();
        wire.answer_by(move |command| card.lock().answer(command));
        if let Ok(Some(token)) = recognize(wire.link()) {
            reached.tokens += 1;
            use_up(&token, &wire, random, &mut reached);
            reached.contents += usize::from(token.contents().keys().count() > 1);
            token.removed();
        }
        assert!(wire.count() < MAX_COMMANDS, "{} commands", wire.count());
        wire.finish();
    });
    println!("{reached:?}");
    let Reached {
        tokens,
        contents,
        logins,
        operations,
        changes,
    } = reached;
    let least = [tokens, contents, logins, operations, changes]
        .into_iter()
        .min();
    assert!(least > Some(10), "not everything was tried: {least:?}");
}

#[test]
fn no_bytes_do_harm_to_a_parser() {
    walk(100 * SHORT, |random| {
        let honest = [piv, open_pgp][random.below(2)];
        let commands: [&[u8]; 4] = [
            &[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8, 0],
            &[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 5, 0],
            &[0, 0xca, 0, 0x6e, 0],
            &[0, 0x47, 0x81, 0, 2, 0xb6, 0, 0],
        ];
        let mut bytes = honest(commands[random.below(4)]);
        let mut liar = Liar {
            honest,
            random: random.clone(),
            rarely: 1,
            rest: Vec::new(),
            other: Vec::new(),
        };
        for _ in 0..=random.below(4) {
            liar.damage(&mut bytes, &[]);
        }
        random.next();
        let mut depth = vec![bytes.clone()];
        for _ in 0..5 {
            let objects: Vec<_> = depth.iter().flat_map(|bytes| Reader::new(bytes)).collect();
            let objects = objects.into_iter().flatten();
            depth = objects.map(|object| object.value.to_vec()).collect();
        }
        let _ = tlv::find_path(&bytes, &[0x6e, 0x73, 0xc0]);
        let _ = atr::takes_extended(&bytes);
        let wire = Wire::new();
        wire.answer_by(move |_| Ok(bytes.clone()));
        let command = Command::new(0xcb, 0x3f, 0xff).data(&[0x5c]).le(Le::All);
        let _ = exchange(&mut *wire.link(), &command, random.below(2) == 0);
        assert!(wire.count() <= 302, "{} commands", wire.count());
    });
}
