//! The milter that Postfix talks to.
