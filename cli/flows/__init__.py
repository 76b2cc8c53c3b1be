"""Steps that several commands share: submit, wait, finish, answer an approval, end with a code."""
