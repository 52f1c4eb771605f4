//! Patterns of policies: `*` is any text, `?` any one character, and `${*}`, `${?}`, `${$}` the characters themselves.

use super::PolicyError;

#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Char(char),
    AnyOne,
    AnyMany,
}

impl Pattern {
    /// `*` and `?` are wild; `$` is itself.
    pub(super) fn plain(text: &str) -> Self {
        Self(text.chars().map(Token::wild).collect())
    }

    /// `*` and `?` are wild; `${*}`, `${?}` and `${$}` stand for the characters themselves.
    pub(super) fn escaped(text: &str) -> Result<Self, PolicyError> {
        Self::tokens(text, Token::wild)
    }

    /// Nothing is wild; `${*}`, `${?}` and `${$}` stand for the characters themselves.
    pub(super) fn literal(text: &str) -> Result<Self, PolicyError> {
        Self::tokens(text, Token::Char)
    }

    fn tokens(text: &str, token: fn(char) -> Token) -> Result<Self, PolicyError> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(variable) = rest.strip_prefix("${") {
                let mut inside = variable.chars();
                match (inside.next(), inside.next()) {
                    (Some(c @ ('*' | '?' | '$')), Some('}')) => tokens.push(Token::Char(c)),
                    _ => return Err(PolicyError::Variable(text.to_owned())),
                }
                rest = inside.as_str();
            } else {
                tokens.push(token(c));
                rest = &rest[c.len_utf8()..];
            }
        }
        Ok(Self(tokens))
    }

    /// Greedy with one point of return: linear for one `*`, never exponential.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut at, mut rest) = (0, text);
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            match (self.0.get(at), next) {
                (Some(Token::AnyMany), _) => {
                    retry = Some((at + 1, rest));
                    at += 1;
                    continue;
                }
                (Some(Token::AnyOne), Some(c)) => {
                    at += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (Some(Token::Char(wanted)), Some(c)) if *wanted == c => {
                    at += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // The last `*` takes one character more.
            let Some((after, from)) = retry else {
                return false;
            };
            let Some(c) = from.chars().next() else {
                return false;
            };
            rest = &from[c.len_utf8()..];
            at = after;
            retry = Some((after, rest));
        }
    }
}

impl Token {
    fn wild(c: char) -> Self {
        match c {
            '*' => Self::AnyMany,
            '?' => Self::AnyOne,
            c => Self::Char(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_stars_backtrack() {
        let pattern = Pattern::plain("a*b*c");
        for (text, expected) in [
            ("abc", true),
            ("aXbYbZc", true),
            ("aXcYbZ", false),
            ("abcX", false),
            ("éabc", false),
        ] {
            assert_eq!(pattern.matches(text), expected, "{text}");
        }
        assert!(Pattern::plain("*").matches(""));
        assert!(Pattern::plain("?é*").matches("éé"));
    }
}
