package main

// Alphabets of random texts.
const (
	plainAlphabet = "abcXYZ019 _-.,:;/@%&*()[]{}!?+=~^|<>äé"
	nastyAlphabet = "'\"\\$#{}=: \t\n\r\u00a0é\u0000"
)

var keys = []string{
	"A", "B", "C", "DB_HOST", "DB_PASSWORD", "JWT_SECRET", "SITE_NAME", "lower", "Mixed_Case", "_UNDER", "X1",
}

var oddKeys = []string{
	"app.name", "spring.datasource.url", "my-key", "a.b-c_d", "1ST", "list[0]", "Ü", "-", ".",
}

var words = []string{"foo", "bar", "42", "My Site", "a,b", "x", "on", "é"}

// Values as they stand in files of public projects.
var realLife = []string{
	"true", "5432", "localhost", "My Site", "Mozilla/5.0 (X11; Linux)", "*/5 * * * *", "0 3 * * *",
	"postgres://user:pa%40ss@db:5432/app?sslmode=disable", "https://example.org/a?b=c&d=e#frag",
	"smtp://mail:25", "a@b.org", "Name <a@b.org>", "a,b, c", "10MB", "-1", "1.5", "/var/lib/data:/data:ro",
	"kY3+/aZ==", "Zm9vYmFyYmF6", "$2y$10$abcdefghij", "pa$$word", "secret$", "100%", "p&w;x|y", "!important",
	"-Xmx512m -Xms256m", "redis:6379", "{{ .Values.x }}", "%d{HH:mm:ss} %msg%n", "[a, b]", "\u201cquoted\u201d",
	"user=a password=b", "a=b=c", "==", "~/.ssh/id_ed25519", "C:/Program Files/x", "\U0001f600", "key: value", "",
}

var jsons = []string{
	`{"a":"b"}`, `'{"a": 1, "b": [1, 2]}'`, `["x","y"]`, `"{\"a\":\"b\"}"`, `{"it's": "#1 # two"}`,
	`'{"url":"https://x/y#z"}'`, `{ "a" : "$b" }`,
}

var innerQuotes = []string{
	`a'b'cd`, `x"y"z`, `5'10"`, `say "hi"`, `rock 'n' roll`, `--opt="a b"`, `'a''b'`, `"a""b"`, `'a'b`, `"a" b`, `''`, `""`,
}

var backslashes = []string{
	`C:\dir\new`, `DOMAIN\user`, `\d+\.\d+`, `a\`, `\`, `\\server\share`, `a\nb`, `\$5`, `a\ b`, `'C:\dir\'`, `'a\nb'`,
	`'it\'s'`,
}

var escapes = []string{
	`\n`, `\t`, `\r`, `\\`, `\"`, `\'`, `\$`, `\$A`, `\0`, `\012`, `\0101`, `\0777`, `\089`, `\c`, `\q`, `\x41`, `\a`, `\v`,
	"a", " ", "$$", "A", "{", "}", "#", " #", "é", `\u00e9`,
}

var comments = []string{
	"don't raise", "it's fine", "plain", `with "quotes"`, "A=1", "$HOME", "", "# again", "100% ${sure", "é",
}

var dollars = []string{
	"pa$word", "secret$", "pa$$word", "$argon2id$v=19$m=5", "$5", "$", "$$", "$$$$", "$$$A", "a$-b", "${", "${}", "${5}",
	"$(date)", "'$A'", `"$"`, `"$$A"`, "$é", "$A$B", "${A}${B}", "$$${A:-x}",
}

var blankSeparators = []string{" = ", " =", "= ", "\t=\t", "  =  ", " =\t"}

// What may stand behind a value in quotes.
var behind = []string{"", " ", "\t", " # c", "# c", " #", " B=2", " x", "x", `"`, "'", ";", " # it's"}
