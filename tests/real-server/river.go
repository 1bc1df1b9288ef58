// River's migrations as files in golang-migrate's naming, asked of River's own library in the version
// that the module it is run in uses: go run river.go FOLDER
//
// River puts the schema's name where its SQL says so, also inside of strings, where the mark is no
// comment: left in, the fifth migration finds no table and silently skips half of its work.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// What River replaces with the schema and a dot; nothing stands for the search path.
const schema = "/* TEMPLATE: schema */"

func main() {
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(folder string) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(nil), nil)
	if err != nil {
		return err
	}
	for _, migration := range migrator.AllVersions() {
		name := strings.ReplaceAll(strings.ToLower(migration.Name), " ", "_")
		for direction, sql := range map[string]string{"up": migration.SQLUp, "down": migration.SQLDown} {
			file := fmt.Sprintf("%06d_%s.%s.sql", migration.Version, name, direction)
			if err := os.WriteFile(filepath.Join(folder, file), []byte(strings.ReplaceAll(sql, schema, "")), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
