package binding

// TokenEnds is for tests of what Keystone's answers hold.
var TokenEnds = tokenEnds
