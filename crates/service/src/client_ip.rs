//! Where a request comes from, and how many codes may fail from there.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arklow_domain::RateLimit;
use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;

/// How many addresses are remembered, at most.
const MAX_ADDRESSES: usize = 100_000;
/// For how many addresses room is made at a time: all are looked at once in so many new ones.
const ROOM: usize = MAX_ADDRESSES / 8;

/// The proxies whose word on where a request comes from is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the forwarding header of proxies in these networks.
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The address of the client, which no client can choose (OWASP ASVS 4.1.3; its absence is
    /// CVE-2025-69615).
    ///
    /// Each proxy appends the peer that it saw to `X-Forwarded-For`, so the list is read from its
    /// end, as far as those who wrote it are trusted. An entry that is no address ends it.
    pub(crate) fn client(&self, peer: IpAddr, forwarded_for: &[String]) -> IpAddr {
        let mut client = peer.to_canonical();
        for entry in forwarded_for.iter().rev() {
            if !self.trusts(client) {
                break;
            }
            match parse(entry) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        client
    }

    /// Whether `address`, in its canonical form, is one of them.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, with or without a port. An IPv6 address may be in brackets (RFC 7239 §6).
fn parse(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || {
        let inner = entry.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    entry.parse().ok().or_else(with_port).or_else(in_brackets)
}

/// How many codes may fail from one address: all of several limits, in the memory of this process.
///
/// It slows down who tries many accounts from one place; that an account is not guessed is up to
/// the counter in the database.
pub(crate) struct AddressLimiter {
    limits: Vec<RateLimit>,
    /// How long a failure is remembered.
    memory: TimeDelta,
    failures: Arc<Mutex<Failures>>,
}

/// The times of failures by address, the oldest first.
type Failures = HashMap<IpAddr, VecDeque<DateTime<Utc>>>;

/// An attempt that is under way. It counts as a failure until it is dropped, and on if the attempt failed.
/// A request that is given up, as at its deadline, drops it: the code may have been right.
#[must_use = "dropped at once it limits nothing"]
pub(crate) struct Reservation {
    address: IpAddr,
    at: DateTime<Utc>,
    failures: Arc<Mutex<Failures>>,
    /// Whether it is free again when this is dropped.
    gives_back: bool,
}

impl AddressLimiter {
    /// All of these limits; without one, there is none.
    pub(crate) fn new(limits: Vec<RateLimit>) -> Self {
        let memory = limits.iter().map(|limit| limit.per).max();
        Self {
            limits,
            memory: memory.unwrap_or_default(),
            failures: Arc::default(),
        }
    }

    /// Reserves an attempt from `address`.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(crate) fn reserve(
        &self,
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Reservation, TimeDelta> {
        let address = bucket(address);
        let reservation = |gives_back| Reservation {
            address,
            at: now,
            failures: Arc::clone(&self.failures),
            gives_back,
        };
        if self.limits.is_empty() {
            return Ok(reservation(false));
        }
        let mut all = lock(&self.failures);
        self.make_room(&mut all, address, now);
        let times = all.entry(address).or_default();
        // After the clock went back, the limit must not last longer than its period.
        for time in times.iter_mut() {
            *time = (*time).min(now);
        }
        while times.front().is_some_and(|at| now - *at >= self.memory) {
            times.pop_front();
        }
        let wait = self.limits.iter().filter_map(|limit| {
            // The failure that leaves no room until it is too old.
            let others = limit.count.max(1) as usize - 1;
            let at = times.iter().rev().nth(others)?;
            Some(limit.per - (now - *at)).filter(|wait| *wait > TimeDelta::zero())
        });
        if let Some(wait) = wait.max() {
            return Err(wait);
        }
        times.push_back(now);
        Ok(reservation(true))
    }

    /// Forgets addresses if there are too many: those of which nothing is remembered any more, and
    /// if that is less than [`ROOM`], as many of those that failed longest ago.
    fn make_room(&self, all: &mut Failures, address: IpAddr, now: DateTime<Utc>) {
        if all.len() < MAX_ADDRESSES || all.contains_key(&address) {
            return;
        }
        let last = |times: &VecDeque<DateTime<Utc>>| times.back().copied();
        all.retain(|_, times| last(times).is_some_and(|at| now - at < self.memory));
        // Addresses that expire one by one would otherwise have every request look at all of them.
        let Some(mut excess) = all.len().checked_sub(MAX_ADDRESSES - ROOM) else {
            return;
        };
        let mut ages: Vec<_> = all.values().filter_map(last).collect();
        let (before, oldest_kept, _) = ages.select_nth_unstable(excess);
        let oldest_kept = *oldest_kept;
        // Of those that failed at that very time only so many go: not all, if all are of one time.
        excess -= before.iter().filter(|at| **at < oldest_kept).count();
        all.retain(|_, times| match last(times).cmp(&Some(oldest_kept)) {
            Ordering::Less => false,
            Ordering::Equal if excess > 0 => {
                excess -= 1;
                false
            }
            Ordering::Equal | Ordering::Greater => true,
        });
    }
}

impl Reservation {
    /// The attempt failed: it goes on counting.
    pub(crate) fn fail(mut self) {
        self.gives_back = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.gives_back {
            return;
        }
        let mut all = lock(&self.failures);
        let Some(times) = all.get_mut(&self.address) else {
            return;
        };
        // Any of the same time is as good as another; a clock that went back has moved it.
        let own = times.iter().rposition(|at| *at <= self.at);
        if let Some(own) = own {
            times.remove(own);
        }
        if times.is_empty() {
            all.remove(&self.address);
        }
    }
}

/// What counts as one address: an IPv6 host has a whole network of 64 bits to itself.
pub(crate) fn bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock(failures: &Mutex<Failures>) -> MutexGuard<'_, Failures> {
    failures.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten in five minutes, and fifty an hour.
    const PER_ADDRESS: [RateLimit; 2] = [
        RateLimit {
            count: 10,
            per: TimeDelta::minutes(5),
        },
        RateLimit {
            count: 50,
            per: TimeDelta::hours(1),
        },
    ];

    const HERE: &str = "192.0.2.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn limiter() -> AddressLimiter {
        AddressLimiter::new(PER_ADDRESS.to_vec())
    }

    /// Whether an attempt from there fails without having to wait.
    fn fails(limiter: &AddressLimiter, from: &str, seconds: i64) -> bool {
        let reservation = limiter.reserve(ip(from), at(seconds));
        reservation.map(Reservation::fail).is_ok()
    }

    fn wait(limiter: &AddressLimiter, from: &str, seconds: i64) -> i64 {
        match limiter.reserve(ip(from), at(seconds)) {
            Ok(_) => 0,
            Err(wait) => wait.num_seconds(),
        }
    }

    #[test]
    fn ten_failures_in_five_minutes_are_allowed_wherever_the_five_minutes_begin() {
        let limiter = limiter();
        for n in 0..10 {
            assert!(fails(&limiter, HERE, 10 * n), "{n}");
        }
        assert_eq!(wait(&limiter, HERE, 100), 200);
        assert_eq!(wait(&limiter, HERE, 299), 1);
        assert!(fails(&limiter, HERE, 300));
        assert_eq!(wait(&limiter, HERE, 300), 10);
    }

    #[test]
    fn fifty_failures_an_hour_are_allowed() {
        let limiter = limiter();
        for n in 0..50 {
            assert!(fails(&limiter, HERE, 31 * n), "{n}");
        }
        assert_eq!(wait(&limiter, HERE, 31 * 50), 3600 - 31 * 50);
        assert!(fails(&limiter, HERE, 3600));
    }

    #[test]
    fn attempt_that_is_given_up_or_right_leaves_its_place_to_another() {
        let limiter = limiter();
        for n in 0..1_000 {
            drop(limiter.reserve(ip(HERE), at(n)).ok().unwrap());
        }
        assert!(lock(&limiter.failures).is_empty());
        let under_way: Vec<_> = (0..10)
            .map(|_| limiter.reserve(ip(HERE), at(0)).ok().unwrap())
            .collect();
        assert!(!fails(&limiter, HERE, 0), "all places are taken");
        drop(under_way);
        assert!(fails(&limiter, HERE, 0));
    }

    #[test]
    fn addresses_count_apart_and_an_ipv6_network_counts_as_one() {
        let limiter = limiter();
        for n in 0..10 {
            assert!(fails(&limiter, &format!("2001:db8::{n}"), 0));
            assert!(fails(&limiter, HERE, 0));
        }
        assert!(!fails(&limiter, "2001:db8::ffff", 0));
        assert!(fails(&limiter, "2001:db8:0:1::1", 0));
        assert!(!fails(&limiter, "::ffff:192.0.2.1", 0));
        assert!(fails(&limiter, "192.0.2.2", 0));
    }

    #[test]
    fn clock_that_goes_back_prolongs_nothing() {
        let limiter = limiter();
        for _ in 0..10 {
            assert!(fails(&limiter, HERE, 1_000_000));
        }
        assert_eq!(wait(&limiter, HERE, 0), 300);
        assert!(fails(&limiter, HERE, 300));
    }

    #[test]
    fn without_limits_everything_is_allowed_and_nothing_remembered() {
        let limiter = AddressLimiter::new(Vec::new());
        for _ in 0..1_000 {
            assert!(fails(&limiter, HERE, 0));
        }
        assert!(lock(&limiter.failures).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = limiter();
        for n in 0..250_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            let reservation = limiter.reserve(address, at(i64::from(n / 1_000)));
            assert!(reservation.map(Reservation::fail).is_ok());
        }
        let remembered = lock(&limiter.failures).len();
        assert!(remembered <= MAX_ADDRESSES, "{remembered}");
        let last = IpAddr::from(249_999_u32.to_be_bytes());
        assert!(lock(&limiter.failures).contains_key(&last));
    }

    #[test]
    fn room_is_made_for_many_at_a_time_and_only_by_those_that_failed_longest_ago() {
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        // All at one time; and so that one expires whenever one more comes.
        for milliseconds in [0, 36] {
            let limiter = AddressLimiter::new(vec![PER_ADDRESS[1]]);
            let fail = |n: usize| {
                let after = TimeDelta::milliseconds(milliseconds * i64::try_from(n).unwrap());
                let reservation = limiter.reserve(address(n), at(0) + after);
                assert!(reservation.map(Reservation::fail).is_ok());
            };
            (0..MAX_ADDRESSES).for_each(fail);
            assert_eq!(lock(&limiter.failures).len(), MAX_ADDRESSES);
            fail(MAX_ADDRESSES);
            let all = lock(&limiter.failures);
            assert_eq!(all.len(), MAX_ADDRESSES - ROOM + 1);
            assert!(all.contains_key(&address(MAX_ADDRESSES)));
            assert!(milliseconds == 0 || !all.contains_key(&address(ROOM - 1)));
            assert!(milliseconds == 0 || all.contains_key(&address(ROOM)));
        }
    }

    fn client(proxies: &[&str], peer: &str, forwarded_for: &[&str]) -> String {
        let networks = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let list: Vec<String> = forwarded_for.iter().map(ToString::to_string).collect();
        let proxies = TrustedProxies::new(networks);
        proxies.client(ip(peer), &list).to_string()
    }

    #[test]
    fn header_of_somebody_who_is_not_trusted_is_ignored() {
        assert_eq!(client(&[], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        let proxies = ["10.0.0.0/8"];
        assert_eq!(client(&proxies, "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn list_is_read_from_its_end_as_far_as_its_writers_are_trusted() {
        let proxies = ["10.0.0.0/8", "2001:db8::/32"];
        for (list, expected) in [
            (vec![], "10.0.0.1"),
            (vec!["203.0.113.9"], "203.0.113.9"),
            (vec!["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (
                vec!["198.51.100.1", "203.0.113.9", "10.9.9.9"],
                "203.0.113.9",
            ),
            (vec!["203.0.113.9:4711", "[2001:db8::1]:80"], "203.0.113.9"),
            (vec!["10.1.1.1", "10.2.2.2"], "10.1.1.1"),
            (vec!["203.0.113.9", "unknown"], "10.0.0.1"),
            (vec!["203.0.113.9", "", "10.2.2.2"], "10.2.2.2"),
            (vec!["::ffff:203.0.113.9"], "203.0.113.9"),
            (vec!["203.0.113.9", "[2001:db8::1]"], "203.0.113.9"),
            (vec!["[2001:db9::1]"], "2001:db9::1"),
            (vec!["[::ffff:203.0.113.9]"], "203.0.113.9"),
            (vec!["[203.0.113.9]"], "10.0.0.1"),
            (vec!["[2001:db9::1"], "10.0.0.1"),
            (vec!["[[2001:db9::1]]"], "10.0.0.1"),
        ] {
            assert_eq!(client(&proxies, "10.0.0.1", &list), expected, "{list:?}");
        }
        let mapped = client(&proxies, "::ffff:10.0.0.1", &["203.0.113.9"]);
        assert_eq!(mapped, "203.0.113.9");
    }
}
