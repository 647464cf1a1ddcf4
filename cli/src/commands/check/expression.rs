// SPDX-License-Identifier: MIT OR Apache-2.0

//! The expressions of `tcpstat check`, such as `443:accept_queue>80%` and `443:drops/s>1`: parsing,
//! printing and exact comparison.

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;

use tcpstat::{Counter, Gauge, State};

use crate::explain::typed;

/// A limit: `[SCOPE:]WHAT[/s] OP NUMBER[%]`. Its `Display` is the shortest text that parses to the
/// same limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    /// The left-hand side.
    pub(crate) subject: Subject,
    /// The operator.
    pub(crate) op: Op,
    /// The right-hand side.
    pub(crate) limit: Limit,
}

/// Expressions separated by commas: the value of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expressions(pub(crate) Vec<Expression>);

/// A number that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The sockets that are counted.
    pub(crate) scope: Scope,
    /// The quantity.
    pub(crate) what: Quantity,
    /// What of the quantity is compared.
    pub(crate) measure: Measure,
}

impl Subject {
    /// Whether two readings are compared.
    pub(crate) fn is_rate(&self) -> bool {
        self.measure == Measure::Rate
    }
}

/// The sockets that are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of the network namespace.
    Namespace,
    /// `443:`, those of the service at this port.
    Service(u16),
    /// `local-port=5432:`, those at this local port, whether something listens there or not.
    LocalPort(u16),
    /// `peer-port=5432:`, those of connections to this remote port.
    PeerPort(u16),
    /// `unit=nginx.service:`, those that this systemd unit or container made.
    Unit(String),
    /// `listener=127.0.0.1:5432:`, the sockets that listen at this address.
    Listener(SocketAddr),
}

impl Scope {
    /// The names of the scopes that have one.
    const LOCAL_PORT: &str = "local-port";
    const PEER_PORT: &str = "peer-port";
    const UNIT: &str = "unit";
    const LISTENER: &str = "listener";

    /// The port of the service.
    pub(crate) fn service(&self) -> Option<u16> {
        match self {
            Self::Service(port) => Some(*port),
            _ => None,
        }
    }

    /// The local port.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self {
            Self::LocalPort(port) => Some(*port),
            _ => None,
        }
    }

    /// The remote port.
    pub(crate) fn peer_port(&self) -> Option<u16> {
        match self {
            Self::PeerPort(port) => Some(*port),
            _ => None,
        }
    }

    /// Why there is no such quantity of these sockets, if so.
    fn refusal(&self, what: Quantity) -> Option<String> {
        let of_listeners = matches!(what, Quantity::AcceptQueue | Quantity::Drops);
        match (self, what) {
            (Self::LocalPort(port), _) if of_listeners => Some(format!(
                "queues and drops are those of a listener: {port}:{}",
                what.name()
            )),
            (Self::PeerPort(_) | Self::Unit(_), _) if of_listeners => Some(format!(
                "queues and drops are those of a listener: PORT:{}",
                what.name()
            )),
            (Self::Namespace, _) => None,
            (_, Quantity::Counter(_) | Quantity::Gauge(_)) => Some(format!(
                "{} is a number of the whole network namespace: leave out {self}",
                what.name()
            )),
            (Self::PeerPort(_), Quantity::Listeners) => {
                Some("listeners are at a local port: local-port=PORT:listeners".to_owned())
            }
            (Self::Listener(address), Quantity::State(_) | Quantity::Total) => Some(format!(
                "of a listener, accept_queue, drops and listeners are known; connections are those \
                 of the port: {}:{}",
                address.port(),
                what.name()
            )),
            _ => None,
        }
    }
}

/// What of a quantity is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The number.
    Count,
    /// `%`, its share: of all sockets; at a port, of its connections; for `accept_queue`, that of
    /// the fullest listener, of its backlog.
    Share,
    /// `/s`, its change per second between two readings.
    Rate,
}

/// A quantity that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// The sockets in a state.
    State(State),
    /// The sockets in all states.
    Total,
    /// The connections that wait for `accept`.
    AcceptQueue,
    /// The drops at the listeners.
    Drops,
    /// The listeners.
    Listeners,
    /// Events that the kernel counts.
    Counter(Counter),
    /// Numbers that the kernel keeps for the machine.
    Gauge(Gauge),
}

impl Quantity {
    const NAMED: [Quantity; 4] = [
        Quantity::Total,
        Quantity::AcceptQueue,
        Quantity::Drops,
        Quantity::Listeners,
    ];

    /// Its name: the kernel's for states.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::State(state) => state.name(),
            Quantity::Total => "total",
            Quantity::AcceptQueue => "accept_queue",
            Quantity::Drops => "drops",
            Quantity::Listeners => "listeners",
            Quantity::Counter(counter) => counter.name(),
            Quantity::Gauge(gauge) => gauge.name(),
        }
    }

    fn find(text: &str) -> Option<Self> {
        let named = Self::NAMED.into_iter();
        let kernels = Counter::ALL.map(Quantity::Counter).into_iter();
        let kernels = kernels.chain(Gauge::ALL.map(Quantity::Gauge));
        let state = text.parse().ok().map(Quantity::State);
        state.or_else(|| { named.chain(kernels) }.find(|what| typed(what.name()) == typed(text)))
    }
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Op {
    /// Operators of two characters first, since the others are their prefixes.
    const ALL: [Op; 4] = [Op::AtLeast, Op::AtMost, Op::Above, Op::Below];

    const fn sign(self) -> &'static str {
        match self {
            Op::Above => ">",
            Op::AtLeast => ">=",
            Op::Below => "<",
            Op::AtMost => "<=",
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Op::Above => ordering.is_gt(),
            Op::AtLeast => ordering.is_ge(),
            Op::Below => ordering.is_lt(),
            Op::AtMost => ordering.is_le(),
        }
    }
}

/// The right-hand side of a comparison. Limits on the same subject are in the order of their
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// A count.
    Count(u64),
    /// A share, in per cent.
    Share(Decimal),
    /// A change per second; negative for a decrease.
    Rate(Decimal),
}

impl Limit {
    /// Compares with this limit, without a division: `amount`; its share of `of`; or its change by
    /// `amount` in `of` microseconds. If `of` is 0, 1 is used.
    pub(crate) fn compare(self, amount: i128, of: Option<u64>) -> Ordering {
        let of = i128::from(of.unwrap_or(1).max(1));
        let (amount_factor, Decimal(hundredths)) = match self {
            Self::Count(count) => return amount.cmp(&count.into()),
            Self::Share(share) => (10_000, share),
            Self::Rate(rate) => (100 * 1_000_000, rate),
        };
        let amount = amount.saturating_mul(amount_factor);
        amount.cmp(&(of * i128::from(hundredths)))
    }
}

/// A number in hundredths: 8050 is 80.5. At most [`u32::MAX`] hundredths, or as much below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(i64);

impl Decimal {
    /// 100 %.
    const WHOLE: Self = Self(10_000);
}

impl Expression {
    /// Whether `amount` crosses the limit, or its share of `of`, or its change in `of`
    /// microseconds.
    pub(crate) fn holds(&self, amount: i128, of: Option<u64>) -> bool {
        self.op.holds(self.limit.compare(amount, of))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scope, self.what.name())?;
        f.write_str(match self.measure {
            Measure::Rate => "/s",
            Measure::Count | Measure::Share => "",
        })
    }
}

/// With the colon after it: `443:`; empty for the network namespace.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace => Ok(()),
            Self::Service(port) => write!(f, "{port}:"),
            Self::LocalPort(port) => write!(f, "{}={port}:", Self::LOCAL_PORT),
            Self::PeerPort(port) => write!(f, "{}={port}:", Self::PEER_PORT),
            Self::Unit(name) => write!(f, "{}={name}:", Self::UNIT),
            Self::Listener(address) => write!(f, "{}={address}:", Self::LISTENER),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(number) | Self::Rate(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let hundredths = self.0.unsigned_abs();
        match (hundredths / 100, hundredths % 100) {
            (whole, 0) => write!(f, "{sign}{whole}"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{sign}{whole}.{}", rest / 10),
            (whole, rest) => write!(f, "{sign}{whole}.{rest:02}"),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = match self.subject.measure {
            Measure::Share => "%",
            Measure::Count | Measure::Rate => "",
        };
        write!(f, "{}{}{}{percent}", self.subject, self.op, self.limit)
    }
}

/// An error in an expression. Its `Display` shows the expression, with carets below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    text: String,
    /// The bytes of the wrong part, at character boundaries.
    place: Range<usize>,
    problem: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text[..self.place.start].chars().count();
        let wrong = self.text[self.place.clone()].chars().count().max(1);
        // One column for each character, so that the carets line up.
        let shown: String = self
            .text
            .chars()
            .map(|character| {
                if character.is_control() {
                    '?'
                } else {
                    character
                }
            })
            .collect();
        let space = "";
        write!(
            f,
            "{}\n  {shown}\n  {space:before$}{space:^<wrong$}",
            self.problem
        )
    }
}

impl std::error::Error for ExpressionError {}

impl FromStr for Expression {
    type Err = ExpressionError;

    /// Parses an expression, with or without spaces between its parts.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut parts = Parts { text, at: 0 };
        if parts.rest().is_empty() {
            return Err(parts.error(0..0, "an expression is missing, such as total>100"));
        }
        let first = parts.word();
        let (scope, word) = scope(&mut parts, first)?;
        let what = what(&parts, word.clone())?;
        if let Some(problem) = scope.refusal(what) {
            return Err(parts.error(word, problem));
        }
        let is_rate = parts.skip("/");
        if is_rate {
            let unit = parts.word();
            if !parts.text[unit.clone()].eq_ignore_ascii_case("s") {
                return Err(parts.error(unit, "a change is per second: /s"));
            }
        }
        let op = Op::ALL
            .into_iter()
            .find(|op| parts.skip(op.sign()))
            .ok_or_else(|| parts.error(parts.next(), "expected one of > >= < <="))?;
        let is_negative = is_rate && parts.skip("-");
        let place = parts.number();
        let number = number(&parts, place.clone())?;
        let sign = parts.next();
        let measure = match (is_rate, parts.skip("%")) {
            (true, true) => return Err(parts.error(sign, "a change per second has no share")),
            (true, false) => Measure::Rate,
            (false, true) => Measure::Share,
            (false, false) => Measure::Count,
        };
        let has_share = matches!(
            what,
            Quantity::State(_) | Quantity::AcceptQueue | Quantity::Gauge(Gauge::Orphan)
        );
        if measure == Measure::Share && !has_share {
            return Err(parts.error(
                sign,
                "only states, accept_queue and orphan can be compared as a share",
            ));
        }
        let is_listen_share = (what, measure) == (Quantity::State(State::Listen), Measure::Share);
        if is_listen_share && scope != Scope::Namespace {
            let problem = format!(
                "shares are of connections, which listeners are not: compare the count, {scope}listeners{op}1"
            );
            return Err(parts.error(sign, problem));
        }
        let limit = match (measure, number) {
            (Measure::Count, (whole, "")) => Limit::Count(whole),
            (Measure::Count, _) => {
                return Err(parts.error(place, "a count is a whole number; is a % missing?"));
            }
            (Measure::Share, (whole, fraction)) => Limit::Share(
                decimal(whole, fraction)
                    .ok_or_else(|| parts.error(place.clone(), SHARE_TOO_LONG))?,
            ),
            (Measure::Rate, (whole, fraction)) => {
                let Decimal(size) = decimal(whole, fraction)
                    .ok_or_else(|| parts.error(place.clone(), RATE_TOO_LONG))?;
                Limit::Rate(Decimal(if is_negative { -size } else { size }))
            }
        };
        if matches!((what, limit), (Quantity::State(_), Limit::Share(share)) if share > Decimal::WHOLE)
        {
            return Err(parts.error(place, "a share of the sockets is at most 100%"));
        }
        let rest = parts.rest();
        if !rest.is_empty() {
            return Err(parts.error(rest, "the expression should end here"));
        }
        let subject = Subject {
            scope,
            what,
            measure,
        };
        Ok(Expression { subject, op, limit })
    }
}

const SHARE_TOO_LONG: &str =
    "a share has at most two digits after the point, and is below 42949672%";
const RATE_TOO_LONG: &str =
    "a change per second has at most two digits after the point, and is below 42949672";

impl FromStr for Expressions {
    type Err = ExpressionError;

    /// Parses each expression. An error shows its place in the whole text.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut begin = 0;
        let each = text.split(',').map(|one| {
            let at = begin;
            begin += one.len() + 1;
            one.parse()
                .map_err(|error: ExpressionError| ExpressionError {
                    text: text.to_owned(),
                    place: at + error.place.start..at + error.place.end,
                    ..error
                })
        });
        each.collect::<Result<_, _>>().map(Self)
    }
}

/// The scope that begins with the word `first`, and the word after it; if there is no scope,
/// `first`.
fn scope(
    parts: &mut Parts<'_>,
    first: Range<usize>,
) -> Result<(Scope, Range<usize>), ExpressionError> {
    let name = typed(&parts.text[first.clone()]);
    let names = [
        Scope::LOCAL_PORT,
        Scope::PEER_PORT,
        Scope::UNIT,
        Scope::LISTENER,
    ];
    if names.contains(&&*name) && parts.skip("=") {
        let value = parts.before_last_colon();
        let text = parts.text[value.clone()].to_owned();
        let scope = match &*name {
            Scope::LOCAL_PORT => Scope::LocalPort(port(parts, value)?),
            Scope::PEER_PORT => Scope::PeerPort(port(parts, value)?),
            Scope::UNIT if text.is_empty() => {
                return Err(parts.error(value, "expected a unit, as in unit=nginx.service:total"));
            }
            Scope::UNIT => Scope::Unit(text),
            _ => Scope::Listener(text.parse().map_err(|_| {
                let problem = "expected an address and a port, as in 127.0.0.1:5432 or [::1]:5432";
                parts.error(value, problem)
            })?),
        };
        if !parts.skip(":") {
            let problem = format!("expected a colon and a quantity, as in {scope}total");
            return Err(parts.error(parts.next(), problem));
        }
        return Ok((scope, parts.word()));
    }
    if parts.skip(":") {
        return Ok((Scope::Service(port(parts, first)?), parts.word()));
    }
    Ok((Scope::Namespace, first))
}

fn port(parts: &Parts<'_>, word: Range<usize>) -> Result<u16, ExpressionError> {
    let digits = &parts.text[word.clone()];
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if is_number && port > 0 => Ok(port),
        _ => Err(parts.error(word, "expected a port, 1 to 65535")),
    }
}

fn what(parts: &Parts<'_>, word: Range<usize>) -> Result<Quantity, ExpressionError> {
    let name = &parts.text[word.clone()];
    if let Some(what) = Quantity::find(name) {
        return Ok(what);
    }
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let problem = if is_number && &parts.text[parts.next()] == "%" {
        // The second part of TIME_WAIT>12,5%.
        "a comma ends an expression; a fraction has a point, as in 12.5%".into()
    } else if is_number {
        format!("a port must be followed by a colon and a quantity: {name}:total")
    } else {
        format!(
            "expected total, accept_queue, drops, listeners, a number of the kernel such as \
             ListenOverflows, or a state: {}",
            State::ALL.map(State::name).join(", ")
        )
    };
    Err(parts.error(word, problem))
}

/// The number before the point, and the digits after it without trailing zeros.
fn number<'a>(parts: &Parts<'a>, place: Range<usize>) -> Result<(u64, &'a str), ExpressionError> {
    let text = &parts.text[place.clone()];
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(whole) || !digits_only(fraction) {
        return Err(parts.error(place, "expected a number such as 100 or 12.5"));
    }
    match whole.parse() {
        Ok(whole) if whole < 10u64.pow(18) => Ok((whole, fraction.trim_end_matches('0'))),
        _ => Err(parts.error(place, "the number is too long: at most 18 digits")),
    }
}

/// `whole` and the digits after the point; `None` if there are too many.
fn decimal(whole: u64, fraction: &str) -> Option<Decimal> {
    let hundredths: u64 = match fraction.len() {
        0 => 0,
        1 => fraction.parse::<u64>().ok()? * 10,
        2 => fraction.parse().ok()?,
        _ => return None,
    };
    let all = whole.checked_mul(100)?.checked_add(hundredths)?;
    Some(Decimal(u32::try_from(all).ok()?.into()))
}

/// The text of an expression, and the position of the parser in it.
struct Parts<'a> {
    text: &'a str,
    at: usize,
}

impl Parts<'_> {
    /// Takes the next characters for which `belongs` is true, after spaces.
    fn take(&mut self, belongs: fn(char) -> bool) -> Range<usize> {
        let rest = &self.text[self.at..];
        let begin = self.text.len() - rest.trim_start().len();
        let rest = &self.text[begin..];
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at = begin + length;
        begin..self.at
    }

    fn word(&mut self) -> Range<usize> {
        self.take(|c| c.is_alphanumeric() || c == '_' || c == '-')
    }

    /// Takes what precedes the last colon before the operator, without surrounding spaces; all of
    /// it, if there is no colon.
    fn before_last_colon(&mut self) -> Range<usize> {
        let rest = &self.text[self.at..];
        let rest = &rest[..rest.find(['<', '>']).unwrap_or(rest.len())];
        let value = &rest[..rest.rfind(':').unwrap_or(rest.len())];
        let end = self.at + value.trim_end().len();
        let start = end - value.trim().len();
        self.at = end;
        start..end
    }

    fn number(&mut self) -> Range<usize> {
        self.take(|c| !c.is_whitespace() && c != '%')
    }

    /// Skips `sign`, if it comes next.
    fn skip(&mut self, sign: &str) -> bool {
        let rest = self.text[self.at..].trim_start();
        match rest.strip_prefix(sign) {
            Some(after) => {
                self.at = self.text.len() - after.len();
                true
            }
            None => false,
        }
    }

    /// The rest of the text, without surrounding spaces.
    fn rest(&self) -> Range<usize> {
        let rest = self.text[self.at..].trim_end();
        let end = self.at + rest.len();
        end - rest.trim_start().len()..end
    }

    /// The next character.
    fn next(&self) -> Range<usize> {
        let Range { start, .. } = self.rest();
        let length = self.text[start..].chars().next().map_or(0, char::len_utf8);
        start..start + length
    }

    fn error(&self, place: Range<usize>, problem: impl Into<String>) -> ExpressionError {
        ExpressionError {
            text: self.text.to_owned(),
            place,
            problem: problem.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Expression {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn parses_all_spellings() {
        for (text, shortest) in [
            ("8080:CLOSE_WAIT>100", "8080:CLOSE_WAIT>100"),
            ("443:accept_queue>80%", "443:accept_queue>80%"),
            (
                " 443 : Accept-Queue >= 080.50 % ",
                "443:accept_queue>=80.5%",
            ),
            ("close-wait<=0.0%", "CLOSE_WAIT<=0%"),
            ("fin-wait-1>1", "FIN_WAIT1>1"),
            ("TOTAL>1000000", "total>1000000"),
            ("drops > 0", "drops>0"),
            ("443:listeners<1", "443:listeners<1"),
            ("65535:listen<1", "65535:LISTEN<1"),
            ("total>999999999999999999", "total>999999999999999999"),
            ("TIME_WAIT>0.01%", "TIME_WAIT>0.01%"),
            ("accept_queue>42949672.95%", "accept_queue>42949672.95%"),
            ("443:drops/s>1", "443:drops/s>1"),
            (" close-wait / S >= 0.50", "CLOSE_WAIT/s>=0.5"),
            ("total/s<-12.25", "total/s<-12.25"),
            ("total/s< - 0.05", "total/s<-0.05"),
            ("total/s>-0", "total/s>0"),
            (
                "Local_Port = 5432 : established>100",
                "local-port=5432:ESTABLISHED>100",
            ),
            (
                "local-port=5432:TIME_WAIT>5%",
                "local-port=5432:TIME_WAIT>5%",
            ),
            ("local-port=1:total/s>5", "local-port=1:total/s>5"),
            (
                " Peer-Port = 5432 : established > 200",
                "peer-port=5432:ESTABLISHED>200",
            ),
            (
                "unit = nginx.service : close-wait>5%",
                "unit=nginx.service:CLOSE_WAIT>5%",
            ),
            (
                "unit=containerd/4f0c3a9be1d2/6f0b-1a:total/s<-1",
                "unit=containerd/4f0c3a9be1d2/6f0b-1a:total/s<-1",
            ),
            ("unit=a:b@c.service:total>1", "unit=a:b@c.service:total>1"),
            (
                "listener=127.0.0.1:5432:accept_queue>80%",
                "listener=127.0.0.1:5432:accept_queue>80%",
            ),
            ("listener=[::1]:22:drops/s>1", "listener=[::1]:22:drops/s>1"),
            ("listenoverflows/s>0", "ListenOverflows/s>0"),
            ("TCPReqQFullDrop>1", "TCPReqQFullDrop>1"),
            ("Orphan>80%", "orphan>80%"),
            ("mem>1000", "mem>1000"),
        ] {
            assert_eq!(read(text).to_string(), shortest, "{text}");
        }
    }

    #[test]
    fn points_at_the_error() {
        for (text, carets, problem) in [
            ("", "^", "an expression is missing"),
            (" ", "^", "an expression is missing"),
            ("CLOSE_WIAT>1", "^^^^^^^^^^", "a state: ESTABLISHED"),
            ("443:>1", "    ^", "a state: ESTABLISHED"),
            ("8080>1", "^^^^", "8080:total"),
            ("http:total>1", "^^^^", "expected a port, 1 to"),
            ("0:total>1", "^", "expected a port, 1 to"),
            ("65536:total>1", "^^^^^", "expected a port, 1 to"),
            (":total>1", "^", "expected a port, 1 to"),
            ("total", "     ^", "one of > >= < <="),
            ("total=1", "     ^", "one of > >= < <="),
            ("total  é1", "       ^", "one of > >= < <="),
            ("total>", "      ^", "a number such as"),
            ("total>-1", "      ^^", "a number such as"),
            ("total>=>1", "       ^^", "a number such as"),
            ("total>1k", "      ^^", "a number such as"),
            ("total>.5", "      ^^", "a number such as"),
            ("total>1.5", "      ^^^", "is a % missing?"),
            (
                "total>50%",
                "        ^",
                "only states, accept_queue and orphan",
            ),
            (
                "drops > 50 %",
                "           ^",
                "only states, accept_queue and orphan",
            ),
            (
                "443:LISTEN>5%",
                "            ^",
                "compare the count, 443:listeners>1",
            ),
            ("LISTEN>100.1%", "       ^^^^^", "at most 100%"),
            ("LISTEN>1% 5", "          ^", "should end here"),
            (
                "total>1000000000000000000",
                "      ^^^^^^^^^^^^^^^^^^^",
                "too long",
            ),
            ("LISTEN>1.001%", "       ^^^^^", "at most two digits after"),
            (
                "accept_queue>42949673%",
                "             ^^^^^^^^",
                "below 42949672%",
            ),
            ("drops/m>1", "      ^", "per second: /s"),
            ("drops/>1", "      ^", "per second: /s"),
            ("drops/sec>1", "      ^^^", "per second: /s"),
            ("TIME_WAIT/s>5%", "             ^", "has no share"),
            ("drops/s>--1", "         ^^", "a number such as"),
            ("drops/s>0.001", "        ^^^^^", "at most two digits after"),
            ("drops/s>42949673", "        ^^^^^^^^", "below 42949672"),
            (
                "local-port=http:total>1",
                "           ^^^^",
                "expected a port, 1 to",
            ),
            (
                "local-port=:total>1",
                "           ^",
                "expected a port, 1 to",
            ),
            ("local-port=1>1", "            ^", "a colon and a quantity"),
            (
                "443:ListenDrops>1",
                "    ^^^^^^^^^^^",
                "whole network namespace: leave out 443:",
            ),
            (
                "alloc>5%",
                "       ^",
                "only states, accept_queue and orphan",
            ),
            ("unit=:total>1", "     ^", "expected a unit"),
            ("unit=x>1", "      ^", "unit=x:total"),
            ("unit=x:>1", "       ^", "a state"),
            ("unit=x:drops>1", "       ^^^^^", "a listener: PORT:drops"),
            (
                "peer-port=x:total>1",
                "          ^",
                "expected a port, 1 to",
            ),
            (
                "peer-port=1:listeners>1",
                "            ^^^^^^^^^",
                "local-port=PORT:listeners",
            ),
            (
                "listener=5432:drops>1",
                "         ^^^^",
                "an address and a port",
            ),
            (
                "listener=127.0.0.1:5432:CLOSE_WAIT>1",
                "                        ^^^^^^^^^^",
                "of the port: 5432:CLOSE_WAIT",
            ),
            ("local-port:total>1", "^^^^^^^^^^", "expected a port, 1 to"),
            ("remote-port=1:total>1", "^^^^^^^^^^^", "a state"),
            (
                "local-port=1:drops>1",
                "             ^^^^^",
                "a listener: 1:drops",
            ),
            (
                "local-port=1:LISTEN>1%",
                "                     ^",
                "local-port=1:listeners>1",
            ),
            ("é\u{7}>1", "^", "a state"),
        ] {
            let message = text.parse::<Expression>().unwrap_err().to_string();
            let lines: Vec<&str> = message.lines().collect();
            assert_eq!(lines.len(), 3, "{message}");
            assert!(lines[0].contains(problem), "{text}: {message}");
            assert_eq!(lines[1], format!("  {}", text.replace('\u{7}', "?")));
            assert_eq!(lines[2], format!("  {carets}"), "{message}");
        }
    }

    #[test]
    fn points_at_the_error_in_a_list() {
        for (text, carets, problem) in [
            ("CLOSE_WAIT>1,", "             ^", "is missing"),
            (",CLOSE_WAIT>1", "^", "is missing"),
            ("total>1, ,é>2", "        ^", "is missing"),
            ("total>1, é>2,drops>3", "         ^", "a state"),
            (
                "total>1,TIME_WAIT>12,5%",
                "                     ^",
                "a fraction has a point",
            ),
            ("total>1,2,drops>3", "        ^", "2:total"),
            ("8080>1,total>1", "^^^^", "8080:total"),
        ] {
            let message = text.parse::<Expressions>().unwrap_err().to_string();
            let lines: Vec<&str> = message.lines().collect();
            assert!(lines[0].contains(problem), "{text}: {message}");
            assert_eq!(
                lines[1..],
                [format!("  {text}"), format!("  {carets}")],
                "{message}"
            );
        }
        let read_all = |text: &str| text.parse().map(|Expressions(all)| all);
        assert_eq!(
            read_all(" total>1 ,443:drops>2"),
            Ok(vec![read("total>1"), read("443:drops>2")])
        );
    }

    #[test]
    fn shares_are_exact_at_the_limit() {
        let holds = |text: &str, amount: u64, of: u64| read(text).holds(amount.into(), Some(of));
        // 0.1 and 0.7 have no exact binary representation.
        assert!(!holds("LISTEN>0.7%", 7, 1000));
        assert!(holds("LISTEN>=0.7%", 7, 1000));
        assert!(holds("LISTEN<=0.1%", 1, 1000));
        assert!(!holds("LISTEN<0.1%", 1, 1000));
        assert!(holds("LISTEN>33.33%", 1, 3));
        assert!(!holds("LISTEN>33.34%", 1, 3));
        assert!(!holds("LISTEN>=100%", u64::MAX - 1, u64::MAX));
        assert!(holds("LISTEN>=100%", u64::MAX, u64::MAX));
        assert!(holds("accept_queue>100%", 129, 128));
        // A share of 0 sockets is 0; an accept queue with a limit of 0 holds one connection.
        assert!(holds("LISTEN<5%", 0, 0));
        assert!(!holds("LISTEN>0%", 0, 0));
        assert!(holds("accept_queue>=100%", 1, 0));
        assert!(read("total>100").holds(101, None) && !read("total>100").holds(100, None));
    }

    #[test]
    fn rates_are_exact_at_the_limit() {
        let holds = |text: &str, change, micros| read(text).holds(change, Some(micros));
        assert!(!holds("drops/s>1", 5, 5_000_000));
        assert!(holds("drops/s>=1", 5, 5_000_000));
        assert!(holds("drops/s>1", 5, 4_999_999));
        assert!(holds("drops/s<1", 5, 5_000_001));
        // A third is 0.33 and some.
        assert!(holds("drops/s>0.33", 1, 3_000_000));
        assert!(!holds("drops/s>0.34", 1, 3_000_000));
        // A decrease is a negative rate.
        assert!(holds("total/s<-10", -21, 2_000_000));
        assert!(!holds("total/s<-10", -20, 2_000_000));
        assert!(!holds("total/s>0", -1, 1) && !holds("total/s>0", 0, 1));
        // The greatest change in the shortest time, and in the longest.
        assert!(holds("total/s>42949672", u64::MAX.into(), 0));
        assert!(holds("total/s<-42949672", -i128::from(u64::MAX), 1));
        assert!(holds("total/s>0", 1, 366 * 24 * 60 * 60 * 1_000_000));
    }

    fn expressions() -> impl Strategy<Value = Expression> {
        let states = prop::sample::select(&State::ALL[..]).prop_map(Quantity::State);
        let what = prop_oneof![
            states,
            prop::sample::select(&Quantity::NAMED[..]),
            prop::sample::select(&Counter::ALL[..]).prop_map(Quantity::Counter),
            prop::sample::select(&Gauge::ALL[..]).prop_map(Quantity::Gauge),
        ];
        let scope = prop_oneof![
            Just(Scope::Namespace),
            (1u16..).prop_map(Scope::Service),
            (1u16..).prop_map(Scope::LocalPort),
            (1u16..).prop_map(Scope::PeerPort),
            "[a-zA-Z0-9@:_.\\\\/-]{0,30}[a-z]".prop_map(Scope::Unit),
            (any::<std::net::IpAddr>(), any::<u16>())
                .prop_map(|address| Scope::Listener(address.into())),
        ];
        let measures = [Measure::Count, Measure::Share, Measure::Rate];
        let measure = prop::sample::select(measures.to_vec());
        let op = prop::sample::select(&Op::ALL[..]);
        let all = (scope, what, measure, op, 0..10u64.pow(18));
        all.prop_map(|(scope, what, measure, op, number)| {
            let what = match (scope.refusal(what), &scope) {
                (None, _) => what,
                (_, Scope::Listener(_)) => Quantity::Drops,
                _ => Quantity::Total,
            };
            let has_share = match what {
                Quantity::State(State::Listen) => scope == Scope::Namespace,
                Quantity::State(_) | Quantity::AcceptQueue => true,
                Quantity::Gauge(Gauge::Orphan) => true,
                _ => false,
            };
            let measure = match measure {
                Measure::Share if !has_share => Measure::Count,
                measure => measure,
            };
            let hundredths = i64::from(number as u32);
            let limit = match (measure, what) {
                (Measure::Count, _) => Limit::Count(number),
                (Measure::Share, Quantity::AcceptQueue | Quantity::Gauge(_)) => {
                    Limit::Share(Decimal(hundredths))
                }
                (Measure::Share, _) => Limit::Share(Decimal(hundredths % 10_001)),
                (Measure::Rate, _) if number % 2 == 0 => Limit::Rate(Decimal(-hundredths)),
                (Measure::Rate, _) => Limit::Rate(Decimal(hundredths)),
            };
            let subject = Subject {
                scope,
                what,
                measure,
            };
            Expression { subject, op, limit }
        })
    }

    proptest! {
        #[test]
        fn display_parses_to_the_same(expression in expressions()) {
            prop_assert_eq!(expression.to_string().parse(), Ok(expression));
        }

        #[test]
        fn any_text_is_read_or_pointed_at(text in any::<String>()) {
            if let Err(error) = text.parse::<Expressions>() {
                prop_assert!(error.to_string().ends_with('^'));
            }
        }

        #[test]
        fn almost_expressions_are_read_or_pointed_at(text in "((local-port=|unit=|listener=)?[0-9]{0,3}:?[a-zA-Z_]{0,12}(/s?)?[<>=]{0,2}[0-9.é-]{0,5}%?,?){0,4}") {
            if let Err(error) = text.parse::<Expressions>() {
                prop_assert!(error.to_string().ends_with('^'));
            }
        }

        #[test]
        fn almost_an_expression_is_read_or_pointed_at(text in "(local-port=|peer-port=|unit=|listener=)?[0-9:.]{0,6}:?[a-zA-Z_ -]{0,12}(/s?)?[<>=]{0,2}[0-9.é-]{0,22}%?.?") {
            match text.parse::<Expression>() {
                Ok(expression) => prop_assert_eq!(expression.to_string().parse(), Ok(expression)),
                Err(error) => prop_assert!(error.to_string().ends_with('^')),
            }
        }

        #[test]
        fn shares_agree_with_integers(amount in 0..=1000u64, of in 1..=1000u64, tenths in 0..=1000u64) {
            let text = format!("LISTEN>{}.{}%", tenths / 10, tenths % 10);
            prop_assert_eq!(read(&text).holds(amount.into(), Some(of)), amount * 1000 > tenths * of);
        }
    }
}
