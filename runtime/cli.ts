import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { SettingsError } from './parseSettings.ts';
import { SettingsFile, type SettingsFileOptions } from './settingsFile.ts';

/** A parsed command line. */
export type CommandLine =
  | { type: 'run'; config: string | undefined }
  | { type: 'print-config'; config: string | undefined }
  | { type: 'help' }
  | { type: 'wrong'; problem: string };

export type CommandLineOptions = {
  /** As given to SettingsFile.open, so that --print-config prints the settings that would be in force. */
  override?: SettingsFileOptions['override'];
  /** Environment variables and their meaning, for --help. */
  environment?: Record<string, string>;
};

/**
 * Parses the arguments of a process (without node and the script). Exits with 0 after --help and --print-config, and with 2
 * and a sentence on standard error if the arguments are invalid.
 * @param name of the process, for its usage
 */
export function parseCommandLine(
  argv: readonly string[],
  name: string,
  options: CommandLineOptions = {},
): { config: string | undefined } {
  const command = readCommandLine(argv);
  switch (command.type) {
    case 'run':
      return { config: command.config };
    case 'help':
      process.stdout.write(usage(name, options.environment ?? {}));
      process.exit(0);
      break;
    case 'wrong':
      process.stderr.write(`${name}: ${command.problem}; see --help\n`);
      process.exit(2);
      break;
    case 'print-config':
      process.stdout.write(effectiveSettings(command.config, name, options));
      process.exit(0);
  }
}

/** Parses `argv` without acting on it. */
export function readCommandLine(argv: readonly string[]): CommandLine {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string' },
        'print-config': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
      strict: true,
      allowPositionals: false,
    });
    if (values.help) return { type: 'help' };
    if (values.config === '') return { type: 'wrong', problem: '--config needs a file' };
    return { type: values['print-config'] ? 'print-config' : 'run', config: values.config };
  } catch (error) {
    return { type: 'wrong', problem: problemOf(error, argv) };
  }
}

function effectiveSettings(config: string | undefined, name: string, { override }: CommandLineOptions): string {
  try {
    const file = SettingsFile.open(config, override === undefined ? {} : { override });
    const text = stringify(file.current, { aliasDuplicateObjects: false });
    for (const ignored of file.ignored) process.stderr.write(`${name}: ignored: ${ignored}\n`);
    file.close();
    return text;
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${name}: the settings are invalid:\n${error.message}\n`);
    process.exit(2);
  }
}

function usage(name: string, environment: Record<string, string>): string {
  const lines = [
    `usage: ${name} [--config FILE] [--print-config]`,
    '',
    '  --config FILE    settings file, YAML or JSON; it is reloaded when it changes',
    '  --print-config   prints all settings that would be in force, and exits',
    '  --help           prints this help',
  ];
  const variables = Object.entries(environment);
  if (variables.length > 0) lines.push('', 'environment:');
  for (const [variable, meaning] of variables) lines.push(`  ${variable.padEnd(15)}  ${meaning}`);
  return `${lines.join('\n')}\n`;
}

function problemOf(error: unknown, argv: readonly string[]): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION':
      return `unknown option ${/'([^']+)'/.exec((error as Error).message)?.[1] ?? argv.join(' ')}`;
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return `"${/'([^']*)'/.exec((error as Error).message)?.[1] ?? argv.join(' ')}" is not an option`;
    default:
      return error instanceof Error ? error.message.split('\n', 1)[0]! : String(error);
  }
}
