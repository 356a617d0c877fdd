//! What somebody may have meant.

/// The nearest of some words, as a part of a sentence: `; did you mean `mode`?`, or nothing.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let scored = known.into_iter().map(|candidate| {
        let one_slip = strsim::damerau_levenshtein(word, candidate) <= 1;
        (if one_slip { 1.0 } else { strsim::jaro_winkler(word, candidate) }, candidate)
    });
    let best = scored.filter(|(score, _)| *score >= NEAR_ENOUGH).max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, candidate)| format!("; did you mean `{candidate}`?")).unwrap_or_default()
}

/// Below this they have little more than letters in common.
const NEAR_ENOUGH: f64 = 0.8;
