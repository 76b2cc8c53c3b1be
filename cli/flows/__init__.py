"""Steps that several commands share: advise, submit, wait, finish, answer an approval, exit."""
