"""How each kind of corpus is read: archives in, aligned raw pairs out."""
