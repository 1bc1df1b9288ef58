// River's own migrations to one of its versions, as its command runs them:
// river up DATABASE-URL VERSION
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

func main() {
	if len(os.Args) != 4 || os.Args[1] != "up" {
		fail(fmt.Errorf("usage: river up DATABASE-URL VERSION"))
	}
	version, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fail(err)
	}
	if err := up(os.Args[2], version); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func up(url string, version int) error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: silent})
	if err != nil {
		return err
	}
	options := &rivermigrate.MigrateOpts{TargetVersion: version}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, options)
	return err
}
