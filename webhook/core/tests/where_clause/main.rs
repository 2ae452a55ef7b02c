//! Random expressions: what they come to here and in the `cel` crate, and that nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cel_oracle;
mod random;

use mirrord_sessions_core::{
    text::is_unsafe,
    where_clause::{Folded, WhereClause},
};
use proptest::prelude::*;
use random::{Asker, Target};

fn answer(clause: &WhereClause, asker: &Asker, target: &Target) -> bool {
    match clause.fold(&asker.user()) {
        Folded::Nothing => false,
        Folded::Everything => true,
        Folded::Residual(filter) => filter.matches(&target.tracker()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn cel_says_the_same(
        source in random::condition(),
        asker in random::asker(),
        targets in prop::collection::vec(random::target(), 1..6),
    ) {
        let clause = WhereClause::parse(&source).unwrap();
        let oracle = cel_oracle::Oracle::new(&source, &asker);
        for target in &targets {
            prop_assert_eq!(answer(&clause, &asker, target), oracle.answer(target), "{}", source);
        }
    }

    #[test]
    fn what_is_written_again_is_the_same(source in random::condition()) {
        let clause = WhereClause::parse(&source).unwrap();
        let again = clause.to_string();
        prop_assert_eq!(WhereClause::parse(&again).unwrap(), clause, "{}", again);
    }

    #[test]
    fn no_text_makes_it_panic(
        source in prop_oneof![any::<String>(), random::token_soup(), random::damaged()],
        asker in random::asker(),
        target in random::target(),
    ) {
        match WhereClause::parse(&source) {
            Ok(clause) => {
                let again = WhereClause::parse(&clause.to_string()).unwrap();
                prop_assert_eq!(&again, &clause);
                answer(&clause, &asker, &target);
            }
            Err(error) => {
                prop_assert!((1..=source.chars().count() + 1).contains(&error.column), "{error}");
                prop_assert!(!error.to_string().contains(is_unsafe), "{error}");
            }
        }
    }
}
