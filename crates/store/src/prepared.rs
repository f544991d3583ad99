//! Statements whose text never changes, which are prepared once for each connection.
//!
//! Diesel prepares every `UPDATE`, and every `INSERT` that could have a default, again on every call,
//! because their text may depend on values. The same holds for every query that ends with `first`. Ours do not; parsing
//! was more than half of what a regeneration cost, and on PostgreSQL it is one more round trip for each.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::connection::LoadConnection;
use diesel::expression::QueryMetadata;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Integer;

/// A statement that is known by `Name`, which no other has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prepared<Q, Name> {
    query: Q,
    name: PhantomData<Name>,
}

impl<Q, Name> Prepared<Q, Name> {
    /// See [`fixed`], which makes the name.
    pub(crate) fn new(query: Q) -> Self {
        Self {
            query,
            name: PhantomData,
        }
    }

    /// Runs a statement that gives nothing back.
    ///
    /// Diesel's `execute` hands on a reference, which is no longer `Prepared`, and the statement
    /// would be prepared again; so this loads rows, of which there are none.
    pub(crate) fn run<Conn>(self, conn: &mut Conn) -> QueryResult<()>
    where
        Conn: LoadConnection,
        Conn::Backend: QueryMetadata<Integer>,
        <Conn::Backend as Backend>::QueryBuilder: Default,
        Q: QueryFragment<Conn::Backend>,
        Name: 'static,
    {
        let silent = Silent(self);
        for row in conn.load(silent)? {
            row?;
        }
        Ok(())
    }
}

/// A statement as a query without columns.
struct Silent<Q>(Q);

impl<Q> Query for Silent<Q> {
    type SqlType = Integer;
}

impl<Q: QueryId> QueryId for Silent<Q> {
    type QueryId = Q::QueryId;

    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q, DB> QueryFragment<DB> for Silent<Q>
where
    DB: Backend,
    Q: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, backend: &DB) -> QueryResult<bool> {
        self.0.is_safe_to_cache_prepared(backend)
    }
}

/// The query, prepared once. Its text must be the same on every call from this line; the bound
/// values may differ. With debug assertions a text that differs panics.
macro_rules! prepared {
    ($query:expr) => {{
        struct Here;
        $crate::prepared::Prepared::<_, Here>::new($query)
    }};
}

pub(crate) use prepared;

impl<Q: Query, Name> Query for Prepared<Q, Name> {
    type SqlType = Q::SqlType;
}

impl<Q, Name: 'static> QueryId for Prepared<Q, Name> {
    type QueryId = Name;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Q, Name, Conn> RunQueryDsl<Conn> for Prepared<Q, Name> {}

impl<Q, Name, DB> QueryFragment<DB> for Prepared<Q, Name>
where
    DB: Backend,
    DB::QueryBuilder: Default,
    Q: QueryFragment<DB>,
    Name: 'static,
{
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.query.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, backend: &DB) -> QueryResult<bool> {
        #[cfg(debug_assertions)]
        self.check(backend)?;
        let _ = backend;
        Ok(true)
    }
}

#[cfg(debug_assertions)]
impl<Q, Name: 'static> Prepared<Q, Name> {
    /// Whether the text is what it was the last time.
    fn check<DB>(&self, backend: &DB) -> QueryResult<()>
    where
        DB: Backend,
        DB::QueryBuilder: Default,
        Q: QueryFragment<DB>,
    {
        use std::any::TypeId;
        use std::collections::BTreeMap;
        use std::sync::{Mutex, PoisonError};

        use diesel::query_builder::QueryBuilder as _;

        static TEXTS: Mutex<BTreeMap<TypeId, String>> = Mutex::new(BTreeMap::new());

        let mut builder = DB::QueryBuilder::default();
        self.query.to_sql(&mut builder, backend)?;
        let text = builder.finish();
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = texts
            .entry(TypeId::of::<Name>())
            .or_insert_with(|| text.clone());
        assert_eq!(*known, text, "a statement that is not fixed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::connection::{InstrumentationEvent, SimpleConnection as _};
    use diesel::sqlite::SqliteConnection;

    use super::*;

    diesel::table! {
        notes (id) {
            id -> BigInt,
            text -> Text,
            stars -> Integer,
        }
    }

    /// A table with one note, and the statements that were kept for another time.
    fn notes() -> (SqliteConnection, Arc<Mutex<Vec<String>>>) {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        conn.batch_execute(
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, stars INTEGER);
             INSERT INTO notes VALUES (1, 'a', 1);",
        )
        .unwrap();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&kept);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::CacheQuery { sql, .. } = event {
                seen.lock().unwrap().push(sql.to_owned());
            }
        });
        (conn, kept)
    }

    #[test]
    fn update_is_prepared_once_with_and_without_rows() {
        let (mut conn, kept) = notes();
        for text in ["b", "c", "d"] {
            let update = diesel::update(notes::table).set(notes::text.eq(text));
            prepared!(update).run(&mut conn).unwrap();
            let returning = diesel::update(notes::table)
                .set(notes::text.eq(text))
                .returning(notes::text);
            let stored: String = prepared!(returning).get_result(&mut conn).unwrap();
            assert_eq!(stored, text, "with the value of this time");
        }
        let kept = kept.lock().unwrap();
        let updates: Vec<_> = kept
            .iter()
            .filter(|sql| sql.starts_with("UPDATE"))
            .collect();
        assert_eq!(updates.len(), 2, "{updates:?}");
    }

    #[test]
    #[should_panic(expected = "a statement that is not fixed")]
    fn text_that_differs_is_noticed() {
        #[derive(AsChangeset)]
        #[diesel(table_name = notes)]
        struct Change {
            stars: Option<i32>,
            text: Option<&'static str>,
        }

        let (mut conn, _) = notes();
        for stars in [None, Some(2)] {
            let change = Change {
                stars,
                text: Some("b"),
            };
            let update = diesel::update(notes::table).set(change);
            prepared!(update).run(&mut conn).unwrap();
        }
    }
}
