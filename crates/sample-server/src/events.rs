//! Events: what one is, what may become one, and the SQL that keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, Row, postgres::PgRow};

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;
/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 4000;
/// The most events in one answer.
const MOST: u32 = 200;
/// The widest circle to look in, in metres: half the Earth's girth reaches everywhere.
const WIDEST: f64 = 20_040_000.0;

/// The columns of an [`Event`]; times travel as microseconds since 1970.
macro_rules! columns {
    () => {
        "id, name, description, (extract(epoch FROM starts_at) * 1000000)::bigint AS starts_at, \
         longitude, latitude, source"
    };
}

/// An event as it is stored and answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) starts_at: Timestamp,
    /// Degrees east.
    pub(crate) longitude: f64,
    /// Degrees north.
    pub(crate) latitude: f64,
    /// Where it came from.
    pub(crate) source: String,
}

/// What a client sends to make one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEvent {
    name: String,
    #[serde(default)]
    description: Option<String>,
    starts_at: Timestamp,
    longitude: f64,
    latitude: f64,
}

/// Which events a client asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// How many at most.
    limit: Option<u32>,
    /// A part of the name.
    q: Option<String>,
    /// The middle of the circle to look in, with `latitude` and `radius` (metres).
    longitude: Option<f64>,
    latitude: Option<f64>,
    radius: Option<f64>,
}

/// A field that breaks a rule, and the rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    pub(crate) field: &'static str,
    pub(crate) rule: String,
}

impl Mistake {
    fn new(field: &'static str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self { field, rule }
    }
}

impl NewEvent {
    /// Everything that is wrong with it.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.name.trim().is_empty() || self.name.chars().count() > LONGEST_NAME {
            mistakes.push(Mistake::new(
                "name",
                format!("1 to {LONGEST_NAME} characters"),
            ));
        }
        let description = self.description.as_deref().unwrap_or_default();
        if description.chars().count() > LONGEST_DESCRIPTION {
            let rule = format!("at most {LONGEST_DESCRIPTION} characters");
            mistakes.push(Mistake::new("description", rule));
        }
        if [&self.name, description]
            .iter()
            .any(|text| text.contains('\0'))
        {
            mistakes.push(Mistake::new(
                "name",
                "no NUL character, nor in the description",
            ));
        }
        mistakes.extend(misplaced(self.longitude, self.latitude));
        mistakes
    }
}

fn misplaced(longitude: f64, latitude: f64) -> impl Iterator<Item = Mistake> {
    let east = (!(-180.0..=180.0).contains(&longitude))
        .then(|| Mistake::new("longitude", "-180 to 180 degrees"));
    let north = (!(-90.0..=90.0).contains(&latitude))
        .then(|| Mistake::new("latitude", "-90 to 90 degrees"));
    east.into_iter().chain(north)
}

/// A question that can be put to the database.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    limit: i64,
    which: Which,
}

#[derive(Debug, PartialEq)]
enum Which {
    All,
    Named {
        pattern: String,
    },
    Near {
        longitude: f64,
        latitude: f64,
        radius: f64,
    },
}

impl Wanted {
    /// The question this asks.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn question(self) -> Result<Question, Vec<Mistake>> {
        let limit = self.limit.unwrap_or(20);
        let mut mistakes = Vec::new();
        if !(1..=MOST).contains(&limit) {
            mistakes.push(Mistake::new("limit", format!("1 to {MOST}")));
        }
        let which = match (self.q, self.longitude, self.latitude, self.radius) {
            (None, None, None, None) => Which::All,
            (Some(part), None, None, None) => Which::Named {
                pattern: format!("%{}%", literally(&part)),
            },
            (None, Some(longitude), Some(latitude), Some(radius)) => {
                mistakes.extend(misplaced(longitude, latitude));
                if !(0.0..=WIDEST).contains(&radius) {
                    mistakes.push(Mistake::new("radius", format!("0 to {WIDEST} metres")));
                }
                Which::Near {
                    longitude,
                    latitude,
                    radius,
                }
            }
            _ => {
                let rule = "either `q`, or `longitude`, `latitude` and `radius` together";
                mistakes.push(Mistake::new("q", rule));
                Which::All
            }
        };
        if mistakes.is_empty() {
            Ok(Question {
                limit: limit.into(),
                which,
            })
        } else {
            Err(mistakes)
        }
    }
}

/// The text with LIKE's own signs taken literally. PostgreSQL's text has no NUL, so neither do names.
fn literally(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars().filter(|character| *character != '\0') {
        if matches!(character, '%' | '_' | '\\') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}

/// The events asked for, those that start first first.
pub(crate) async fn list(
    database: &PgPool,
    question: &Question,
) -> Result<Vec<Event>, sqlx::Error> {
    const ALL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM events ORDER BY events.starts_at, id LIMIT $1"
    );
    const NAMED: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM events WHERE name ILIKE $2 ORDER BY events.starts_at, id LIMIT $1"
    );
    const NEAR: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM events WHERE ST_DWithin(place, ST_MakePoint($2, $3)::geography, $4) \
         ORDER BY events.starts_at, id LIMIT $1"
    );
    let query = match &question.which {
        Which::All => sqlx::query_as(ALL).bind(question.limit),
        Which::Named { pattern } => sqlx::query_as(NAMED).bind(question.limit).bind(pattern),
        Which::Near {
            longitude,
            latitude,
            radius,
        } => sqlx::query_as(NEAR)
            .bind(question.limit)
            .bind(longitude)
            .bind(latitude)
            .bind(radius),
    };
    query.fetch_all(database).await
}

/// One event.
pub(crate) async fn find(database: &PgPool, id: i64) -> Result<Option<Event>, sqlx::Error> {
    const ONE: &str = concat!("SELECT ", columns!(), " FROM events WHERE id = $1");
    sqlx::query_as(ONE).bind(id).fetch_optional(database).await
}

/// Keeps a new event, whose mistakes were looked for.
pub(crate) async fn add(database: &PgPool, event: &NewEvent) -> Result<Event, sqlx::Error> {
    const ADD: &str = concat!(
        "INSERT INTO events (name, description, starts_at, longitude, latitude, source) \
         VALUES ($1, $2, to_timestamp(0) + $3 * interval '1 microsecond', $4, $5, 'api') \
         RETURNING ",
        columns!()
    );
    sqlx::query_as(ADD)
        .bind(&event.name)
        .bind(&event.description)
        .bind(event.starts_at.as_microsecond())
        .bind(event.longitude)
        .bind(event.latitude)
        .fetch_one(database)
        .await
}

impl FromRow<'_, PgRow> for Event {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let starts_at = Timestamp::from_microsecond(row.try_get("starts_at")?);
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            starts_at: starts_at.map_err(|error| sqlx::Error::ColumnDecode {
                index: "starts_at".to_owned(),
                source: error.into(),
            })?,
            longitude: row.try_get("longitude")?,
            latitude: row.try_get("latitude")?,
            source: row.try_get("source")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(mistakes: &[Mistake]) -> Vec<&'static str> {
        mistakes.iter().map(|mistake| mistake.field).collect()
    }

    #[test]
    fn every_mistake_of_a_new_event_is_named() {
        let read = |text: &str| serde_json::from_str::<NewEvent>(text).unwrap();
        let good = r#"{"name":"Choir","starts_at":"2026-05-01T18:00:00Z","longitude":-79.4,"latitude":43.7}"#;
        assert!(read(good).mistakes().is_empty());
        let bad =
            r#"{"name":" ","starts_at":"2026-05-01T18:00:00Z","longitude":181,"latitude":-91}"#;
        assert_eq!(
            fields(&read(bad).mistakes()),
            ["name", "longitude", "latitude"]
        );
        assert!(serde_json::from_str::<NewEvent>(&good.replace("Z\"", "\"")).is_err());
    }

    #[test]
    fn a_question_is_by_name_or_by_place() {
        let asked = |wanted: Wanted| wanted.question().map_err(|mistakes| fields(&mistakes));
        let named = Wanted {
            q: Some("100%_\\".to_owned()),
            ..Wanted::default()
        };
        let pattern = r"%100\%\_\\%".to_owned();
        assert_eq!(
            asked(named),
            Ok(Question {
                limit: 20,
                which: Which::Named { pattern }
            })
        );
        let half = Wanted {
            longitude: Some(1.0),
            ..Wanted::default()
        };
        assert_eq!(asked(half), Err(vec!["q"]));
        let many = Wanted {
            limit: Some(201),
            ..Wanted::default()
        };
        assert_eq!(asked(many), Err(vec!["limit"]));
        let nowhere = Wanted {
            longitude: Some(f64::NAN),
            latitude: Some(0.0),
            radius: Some(-1.0),
            ..Wanted::default()
        };
        assert_eq!(asked(nowhere), Err(vec!["longitude", "radius"]));
    }
}
