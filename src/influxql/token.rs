//! The words and signs the lexer tells apart, with the text each has in an error message.

use crate::influxql::ast::Operator;

/// Declares [`Token`]: signs and classes with their printed names, then the keywords, printed as themselves.
macro_rules! tokens {
    ($($class:ident $name:literal)* ; $($keyword:ident $word:literal)*) => {
        /// Kind of one token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Token { $($class,)* $($keyword,)* }

        impl Token {
            /// What an error message calls this token when it has no text of its own.
            pub(super) fn name(self) -> &'static str {
                match self { $(Token::$class => $name,)* $(Token::$keyword => $word,)* }
            }
        }

        /// All reserved words, in capitals.
        const KEYWORDS: &[(&str, Token)] = &[$(($word, Token::$keyword),)*];
    };
}

tokens! {
    Illegal "ILLEGAL" Eof "EOF" Space "WS" Comment "" Ident "IDENT" BoundParam "BOUNDPARAM" Number "NUMBER"
    Integer "INTEGER" Duration "DURATIONVAL" String "STRING" BadString "BADSTRING" BadEscape "BADESCAPE"
    Regex "REGEX" BadRegex "BADREGEX"
    Add "+" Sub "-" Mul "*" Div "/" Mod "%" BitwiseAnd "&" BitwiseOr "|" BitwiseXor "^"
    Equal "=" NotEqual "!=" Match "=~" NotMatch "!~" Less "<" LessEqual "<=" Greater ">" GreaterEqual ">="
    LeftParen "(" RightParen ")" Comma "," Colon ":" DoubleColon "::" Semicolon ";" Dot "." ;
    All "ALL" Alter "ALTER" Analyze "ANALYZE" And "AND" Any "ANY" As "AS" Asc "ASC" Begin "BEGIN" By "BY"
    Cardinality "CARDINALITY" Continuous "CONTINUOUS" Create "CREATE" Database "DATABASE" Databases "DATABASES"
    Default "DEFAULT" Delete "DELETE" Desc "DESC" Destinations "DESTINATIONS" Diagnostics "DIAGNOSTICS"
    Distinct "DISTINCT" Drop "DROP" DurationWord "DURATION" End "END" Every "EVERY" Exact "EXACT" Explain "EXPLAIN"
    False "FALSE" Field "FIELD" For "FOR" From "FROM" Grant "GRANT" Grants "GRANTS" Group "GROUP" Groups "GROUPS"
    In "IN" Inf "INF" Insert "INSERT" Into "INTO" Key "KEY" Keys "KEYS" Kill "KILL" Limit "LIMIT"
    Measurement "MEASUREMENT" Measurements "MEASUREMENTS" Name "NAME" Offset "OFFSET" On "ON" Or "OR" Order "ORDER"
    Password "PASSWORD" Policies "POLICIES" Policy "POLICY" Privileges "PRIVILEGES" Queries "QUERIES" Query "QUERY"
    Read "READ" Replication "REPLICATION" Resample "RESAMPLE" Retention "RETENTION" Revoke "REVOKE" Select "SELECT"
    Series "SERIES" Set "SET" Shard "SHARD" Shards "SHARDS" Show "SHOW" Slimit "SLIMIT" Soffset "SOFFSET"
    Stats "STATS" Subscription "SUBSCRIPTION" Subscriptions "SUBSCRIPTIONS" Tag "TAG" To "TO" True "TRUE"
    User "USER" Users "USERS" Values "VALUES" Where "WHERE" With "WITH" Write "WRITE"
}

impl Token {
    /// The keyword `word` is, in any case.
    pub(super) fn keyword(word: &str) -> Option<Token> {
        KEYWORDS.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)).map(|(_, token)| *token)
    }

    /// The binary operator this token stands for.
    pub(super) fn operator(self) -> Option<Operator> {
        Some(match self {
            Token::Add => Operator::Add,
            Token::Sub => Operator::Sub,
            Token::Mul => Operator::Mul,
            Token::Div => Operator::Div,
            Token::Mod => Operator::Mod,
            Token::BitwiseAnd => Operator::BitwiseAnd,
            Token::BitwiseOr => Operator::BitwiseOr,
            Token::BitwiseXor => Operator::BitwiseXor,
            Token::And => Operator::And,
            Token::Or => Operator::Or,
            Token::Equal => Operator::Equal,
            Token::NotEqual => Operator::NotEqual,
            Token::Match => Operator::Match,
            Token::NotMatch => Operator::NotMatch,
            Token::Less => Operator::Less,
            Token::LessEqual => Operator::LessEqual,
            Token::Greater => Operator::Greater,
            Token::GreaterEqual => Operator::GreaterEqual,
            _ => return None,
        })
    }
}

/// One token as found: its kind, the index of the character its position is reported at, and its own text.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    /// Kind.
    pub(super) token: Token,
    /// Index into the characters; may lie one or two past the end.
    pub(super) at: usize,
    /// Literal text: names and strings without quotes and escapes. Empty for signs and keywords.
    pub(super) text: String,
}

impl Scanned {
    /// The text an error message shows for this token.
    pub(super) fn shown(&self) -> &str {
        if self.text.is_empty() { self.token.name() } else { &self.text }
    }
}
