//! Moments and spans of time, between the standard types and protobuf's well-known ones.
//!
//! Both sides belong to other crates, so these are functions and not `From`.

use std::time::Duration;

use togather_model::Timestamp;

use crate::error::WireError;

const NANOS: i128 = 1_000_000_000;

/// A moment, as the wire writes it.
#[must_use]
pub fn timestamp(moment: Timestamp) -> prost_types::Timestamp {
    // Protobuf counts nanoseconds forward from the second, also before 1970; jiff towards zero.
    let nanoseconds = moment.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanoseconds.div_euclid(NANOS)).unwrap_or_default(),
        nanos: i32::try_from(nanoseconds.rem_euclid(NANOS)).unwrap_or_default(),
    }
}

/// Reads a moment that must be there.
///
/// # Errors
/// It is missing, or outside the years that can be counted.
pub fn read_timestamp(
    field: &str,
    wire: Option<prost_types::Timestamp>,
) -> Result<Timestamp, WireError> {
    read_optional_timestamp(field, wire)?.ok_or_else(|| WireError::missing(field))
}

/// Reads a moment that may be there.
///
/// # Errors
/// It is outside the years that can be counted.
pub fn read_optional_timestamp(
    field: &str,
    wire: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, WireError> {
    let Some(wire) = wire else { return Ok(None) };
    if !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(WireError::invalid(field, "nanos is not within a second"));
    }
    let nanoseconds = i128::from(wire.seconds) * NANOS + i128::from(wire.nanos);
    Timestamp::from_nanosecond(nanoseconds)
        .map(Some)
        .map_err(|error| WireError::invalid(field, error))
}

/// A span of time, as the wire writes it; what is longer than protobuf can say is cut to its most.
#[must_use]
pub fn duration(span: Duration) -> prost_types::Duration {
    const MOST: i64 = 315_576_000_000;
    match i64::try_from(span.as_secs()) {
        Ok(seconds) if seconds < MOST => prost_types::Duration {
            seconds,
            nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
        },
        Ok(_) | Err(_) => prost_types::Duration {
            seconds: MOST,
            nanos: 0,
        },
    }
}

/// Reads a span of time that must be there.
///
/// # Errors
/// It is missing or negative.
pub fn read_duration(
    field: &str,
    wire: Option<prost_types::Duration>,
) -> Result<Duration, WireError> {
    read_optional_duration(field, wire)?.ok_or_else(|| WireError::missing(field))
}

/// Reads a span of time that may be there.
///
/// # Errors
/// It is negative.
pub fn read_optional_duration(
    field: &str,
    wire: Option<prost_types::Duration>,
) -> Result<Option<Duration>, WireError> {
    let Some(wire) = wire else { return Ok(None) };
    match (u64::try_from(wire.seconds), u32::try_from(wire.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        (Ok(_), Ok(_)) => Err(WireError::invalid(field, "nanos is not within a second")),
        (Err(_), _) | (_, Err(_)) => Err(WireError::invalid(field, "it is negative")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn before_1970_the_nanoseconds_count_forward() {
        let moment = Timestamp::from_nanosecond(-1).unwrap();
        let wire = timestamp(moment);
        assert_eq!((wire.seconds, wire.nanos), (-1, 999_999_999));
        assert_eq!(read_timestamp("at", Some(wire)), Ok(moment));
    }

    #[test]
    fn what_is_no_time_is_refused_by_its_fields_name() {
        let far = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(read_timestamp("at", Some(far)).unwrap_err().field(), "at");
        assert_eq!(
            read_timestamp("at", None).unwrap_err(),
            WireError::missing("at")
        );
        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        assert_eq!(
            read_duration("soak", Some(negative)).unwrap_err().field(),
            "soak"
        );
    }

    proptest! {
        #[test]
        fn no_wire_time_makes_it_panic(seconds: i64, nanos: i32) {
            let _ = read_timestamp("at", Some(prost_types::Timestamp { seconds, nanos }));
            let _ = read_duration("took", Some(prost_types::Duration { seconds, nanos }));
        }

        #[test]
        fn no_span_makes_it_panic(seconds: u64, nanos in 0..1_000_000_000_u32) {
            let wire = duration(Duration::new(seconds, nanos));
            prop_assert!(read_duration("took", Some(wire)).is_ok());
        }
    }
}
