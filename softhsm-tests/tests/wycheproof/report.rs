//! What became of each vector: a table of sets, and an end that fails for anything unexpected.

use std::{collections::BTreeMap, time::Instant};

use crate::build::Library;

/// What became of a vector.
pub(crate) enum Verdict {
    /// What was expected.
    Passed,
    /// What was decided for such a vector, for this reason, where the vectors leave it open or say
    /// otherwise.
    Decided(&'static str),
    /// It was not asked, for this reason.
    Skipped(&'static str),
    /// Something else, in words.
    Unexpected(String),
}

/// The vectors of one file.
pub(crate) struct Set {
    name: String,
    vectors: usize,
    passed: usize,
    decided: BTreeMap<&'static str, usize>,
    skipped: BTreeMap<&'static str, usize>,
    unexpected: Vec<String>,
}

impl Set {
    /// A set of so many vectors, of which none has been asked yet.
    pub(crate) fn new(name: &str, vectors: usize) -> Self {
        Self {
            name: name.to_owned(),
            vectors,
            passed: 0,
            decided: BTreeMap::new(),
            skipped: BTreeMap::new(),
            unexpected: Vec::new(),
        }
    }

    /// Notes what became of the vector with this number.
    pub(crate) fn note(&mut self, number: usize, comment: &str, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Decided(reason) => *self.decided.entry(reason).or_default() += 1,
            Verdict::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
            Verdict::Unexpected(what) => {
                self.unexpected
                    .push(format!("{} tcId {number} ({comment}): {what}", self.name));
            }
        }
    }
}

fn sum(counts: &BTreeMap<&str, usize>) -> usize {
    counts.values().sum()
}

/// The sets of a chapter.
pub(crate) struct Report {
    sets: Vec<Set>,
    started: Instant,
}

impl Report {
    /// Without sets.
    pub(crate) fn new() -> Self {
        Self {
            sets: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Adds a set whose vectors have all been noted.
    pub(crate) fn add(&mut self, set: Set) {
        let noted = set.passed + sum(&set.decided) + sum(&set.skipped) + set.unexpected.len();
        assert_eq!(noted, set.vectors, "{}: vectors are missing", set.name);
        self.sets.push(set);
    }

    /// Prints the table. Fails for an unexpected result, and if other vectors were decided or skipped
    /// than these: each reason with its exact number of vectors on AWS-LC and on OpenSSL.
    pub(crate) fn finish(self, library: Library, expected: &[(&'static str, usize, usize)]) {
        let width = self.sets.iter().map(|set| set.name.len()).max();
        let width = width.unwrap_or(0);
        let row = |name: &str, [vectors, passed, decided, skipped]: [usize; 4]| {
            println!("{name:width$}  {vectors:7}  {passed:6}  {decided:7}  {skipped:7}");
        };
        println!("{:width$}  vectors  passed  decided  skipped", "set");
        let mut totals = [0; 4];
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        let mut unexpected = Vec::new();
        for set in &self.sets {
            let (decided, skipped) = (sum(&set.decided), sum(&set.skipped));
            let numbers = [set.vectors, set.passed, decided, skipped];
            row(&set.name, numbers);
            for (total, number) in totals.iter_mut().zip(numbers) {
                *total += number;
            }
            for (reason, count) in set.decided.iter().chain(&set.skipped) {
                *reasons.entry(reason).or_default() += count;
            }
            unexpected.extend(&set.unexpected);
        }
        row("all", totals);
        for (reason, count) in &reasons {
            println!("{count:7}  {reason}");
        }
        println!("in {:.1} s", self.started.elapsed().as_secs_f32());
        for what in unexpected.iter().take(200) {
            println!("UNEXPECTED {what}");
        }
        assert_eq!(unexpected.len(), 0, "of {} vectors", totals[0]);
        let here = |(reason, aws_lc, openssl): &(&'static str, usize, usize)| match library {
            Library::AwsLc => (*reason, *aws_lc),
            Library::OpenSsl => (*reason, *openssl),
        };
        let expected: BTreeMap<&str, usize> = expected
            .iter()
            .map(here)
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(reasons, expected, "other decisions or skips than expected");
        assert!(totals[1] > 0, "nothing was asked");
    }
}
