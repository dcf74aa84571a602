/* Checking all logs below a directory, for spate log verify and index-rebuild. */
#ifndef SPATE_CLI_LOG_FILES_H
#define SPATE_CLI_LOG_FILES_H

#include "cli/cli.h"

/* Checks the log in `directory`, or all below its replicas/ and the metadata beside it, and prints
 * what was found. With `rebuild` index files that do not fit are written anew; then the node must
 * not run. Exit code 0: nothing is damaged; 1: something is, or could not be read; 2: it is a file;
 * 3: there is no log. */
int log_files_check(struct cli *cli, const char *directory, bool rebuild);

bool path_is_directory(const char *path);

#endif /* SPATE_CLI_LOG_FILES_H */
