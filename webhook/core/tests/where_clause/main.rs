//! Property tests with random expressions, compared with the `cel` crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cel_oracle;
mod random;

use mirrord_sessions_core::{
    text::is_unsafe,
    where_clause::{Folded, WhereClause},
};
use proptest::prelude::*;
use random::{Session, TestUser};

fn evaluate(clause: &WhereClause, user: &TestUser, session: &Session) -> bool {
    match clause.fold(&user.user()) {
        Folded::Nothing => false,
        Folded::Everything => true,
        Folded::Residual(filter) => filter.matches(&session.tracker()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_cel(
        source in random::condition(),
        user in random::user(),
        sessions in prop::collection::vec(random::session(), 1..6),
    ) {
        let clause = WhereClause::parse(&source).unwrap();
        let oracle = cel_oracle::Oracle::new(&source, &user);
        for session in &sessions {
            prop_assert_eq!(evaluate(&clause, &user, session), oracle.evaluate(session), "{}", source);
        }
    }

    #[test]
    fn formatted_expression_parses_to_same_expression(source in random::condition()) {
        let clause = WhereClause::parse(&source).unwrap();
        let formatted = clause.to_string();
        prop_assert_eq!(WhereClause::parse(&formatted).unwrap(), clause, "{}", formatted);
    }

    #[test]
    fn never_panics(
        source in prop_oneof![any::<String>(), random::token_soup(), random::mutated_condition()],
        user in random::user(),
        session in random::session(),
    ) {
        match WhereClause::parse(&source) {
            Ok(clause) => {
                let again = WhereClause::parse(&clause.to_string()).unwrap();
                prop_assert_eq!(&again, &clause);
                evaluate(&clause, &user, &session);
            }
            Err(error) => {
                prop_assert!((1..=source.chars().count() + 1).contains(&error.column), "{error}");
                prop_assert!(!error.to_string().contains(is_unsafe), "{error}");
            }
        }
    }
}
