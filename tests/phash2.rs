//! `erlang:phash2` of terms of every kind, as BEAM nodes of every release have it.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use std::num::NonZeroU32;

use common::node::{atom, name_of, with_each};
use common::{LATER, within};
use gusset::Term;
use gusset::etf::{PHASH2_RANGE, phash2_term};

/// Terms at the borders of what the hash tells apart, on top of those of `gusset_fixture:kinds/0`.
const MORE: &str = "
    lists:append([
        [S * (1 bsl B) + D || B <- [7, 8, 15, 16, 26, 27, 28, 31, 32, 58, 59, 60, 62, 63, 64, 65, 127, 128, 200],
            S <- [1, -1], D <- [-1, 0, 1]],
        [lists:seq(1, N) || N <- lists:seq(0, 17)], [lists:seq(250, 250 + N) || N <- lists:seq(0, 17)],
        [lists:duplicate(N, a) || N <- lists:seq(1, 6)], [[1, 2, a, 3, 4, 5, 6, 7, b], [[1], [2]], [a | 1], [1 | a],
            [1, 2, 3, 4 | 5], [1, 2, 3, 4, 5 | []], [[] | []], [-1, 0, 255, 256], [1.0, 1], [0], [0, 0], \"\"],
        [list_to_atom(L) || L <- [[], [255], [128, 191, 192], [97, 256], [1024, 97], [8364, 233], lists:seq(1, 255),
            lists:duplicate(255, 255), lists:duplicate(255, 128512)]],
        [[A] || A <- ['', a, 'z y']], [{A, B} || A <- ['', 0, [], {}, #{}, <<>>], B <- ['', 0, [], {}, #{}, <<>>]],
        [<<(binary:copy(<<B>>, N))/binary, 1:T>> || B <- [0, 255], N <- lists:seq(0, 25), T <- lists:seq(0, 7)],
        [element(2, split_binary(binary:copy(<<7, 200>>, 40), N)) || N <- [1, 2, 3]],
        [begin <<_:3, R/bitstring>> = binary:copy(<<171>>, N), R end || N <- [1, 5, 13, 40]],
        [{B, [B], #{B => B}} || B <- [<<>>, <<1>>, <<3:2>>, <<255, 3:2>>]],
        [maps:from_list([{{K}, [K]} || K <- lists:seq(1, N)]) || N <- [0, 1, 2, 3, 15, 32, 33, 34, 100, 1000]],
        [#{a => #{b => #{c => #{}}}}, #{#{1 => 2} => #{3 => 4}, x => #{5 => 6}}, [#{a => 1}, #{b => 2}, c]],
        [{#{a => 1}, #{a => 1}}, #{0 => 0, '' => '', [] => []}],
        [0.0, -0.0, 1.0, -1.0, 1.0e-310, 3.14, {0.0, -0.0}],
        [spawn(fun() -> ok end) || _ <- lists:seq(1, 20)], [make_ref() || _ <- lists:seq(1, 20)], erlang:ports(),
        [{self(), make_ref(), hd(erlang:ports())}, #{self() => make_ref()}],
        [fun lists:map/2, fun erlang:'+'/2, {fun lists:map/2}, [fun lists:append/1], #{f => fun lists:map/2}],
        [fun gusset_fixture:kinds/0, fun(X) -> X end, fun(X, Y) -> {X, Y} end, {a, fun() -> self() end, b}]
    ])";

/// Random terms: what a test that was thought of does not have.
const RANDOM: &str = "
    Any = fun Any(Depth) ->
        case rand:uniform(if Depth > 5 -> 7; true -> 12 end) of
            1 -> rand:uniform(600) - 300;
            2 -> (rand:uniform(1 bsl 128) - (1 bsl 127)) bsr rand:uniform(127);
            3 -> rand:normal();
            4 -> lists:nth(rand:uniform(4), [a, ok, '', list_to_atom([229, 8364])]);
            5 -> crypto_free;
            6 -> Bits = rand:uniform(300), <<(rand:uniform(1 bsl Bits)):Bits>>;
            7 -> lists:nth(rand:uniform(3), [self(), make_ref(), []]);
            8 -> list_to_tuple([Any(Depth + 1) || _ <- lists:seq(1, rand:uniform(5))]);
            9 -> [Any(Depth + 1) || _ <- lists:seq(1, rand:uniform(6))];
            10 -> [rand:uniform(260) || _ <- lists:seq(1, rand:uniform(9))];
            11 -> [Any(Depth + 1) | Any(Depth + 1)];
            12 -> maps:from_list([{Any(Depth + 1), Any(Depth + 1)} || _ <- lists:seq(1, rand:uniform(40))])
        end
    end,
    [Any(2) || _ <- lists:seq(1, 500)]";

#[tokio::test]
async fn terms_of_every_kind_have_the_hash_that_every_release_gives_them() {
    with_each(|node, beam| async move {
        let mut inbox = node.register("hashed").unwrap();
        for (corpus, at_least) in [("gusset_fixture:kinds()", 70), (MORE, 700), (RANDOM, 500)] {
            let send = format!(
                "Corpus = begin {corpus} end, {{hashed, {}}} !
                 [{{T, erlang:phash2(T), erlang:phash2(T, 17), erlang:phash2(T, 16#ffffffff)}} || T <- Corpus], ok",
                atom(&node)
            );
            assert_eq!(beam.value(&send).await, "ok");
            let message = within(LATER, "the corpus", inbox.recv()).await.unwrap();
            let hashed: Vec<(Term, u32, u32, u32)> = message.decode().unwrap();
            assert!(hashed.len() >= at_least, "{}", hashed.len());
            for (term, plain, of_17, of_most) in hashed {
                let hash = |range| phash2_term(&term, NonZeroU32::new(range).unwrap());
                let ours = (phash2_term(&term, PHASH2_RANGE), hash(17), hash(u32::MAX));
                assert_eq!(ours, (Some(plain), Some(of_17), Some(of_most)), "OTP {}: {term}", beam.otp.release);
            }
        }
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn identifiers_of_other_nodes_have_the_hash_that_every_release_gives_them() {
    with_each(|node, beam| async move {
        let (name, own) = (node.name().as_atom(), node.process().pid().clone());
        let pid = |id| Term::Pid(gusset::Pid { id, ..own.clone() });
        let port = |id| Term::from(gusset::Port { node: name.clone(), id, creation: node.creation() });
        let reference = |words| Term::from(gusset::Ref::from_three(name.clone(), node.creation(), words));
        let mut terms = vec![pid(0), pid(255), pid(0x7fff), port(1), port(0x0fff_ffff)];
        terms.extend([[0, 1, 2], [1, 2, 3], [0x3_ffff, u32::MAX, u32::MAX]].map(reference));
        // OTP 23 has no larger numbers.
        if beam.otp.release > 23 {
            terms.extend([pid(0x8000), pid(u32::MAX), port(1 << 28), port(1 << 40), port(u64::MAX)]);
        }
        for term in terms {
            let there: u32 = node.rpc(&name_of(&beam), "erlang", "phash2", (&term,)).await.unwrap();
            assert_eq!(phash2_term(&term, PHASH2_RANGE), Some(there), "OTP {}: {term:?}", beam.otp.release);
        }
    })
    .await;
}
