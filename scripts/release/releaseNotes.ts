/**
 * The section of a version in CHANGELOG.md, without its heading; that of what is unreleased if the version has none yet.
 * @throws if there is neither, or nothing in it
 */
export function releaseNotes(changelog: string, version: string): string {
  const sections = new Map<string, string>();
  for (const section of changelog.split(/^(?=## \[)/m)) {
    const [, name] = /^## \[([^\]]+)\]/.exec(section) ?? [];
    if (name !== undefined) sections.set(name, section.slice(section.indexOf('\n') + 1).trim());
  }
  const notes = sections.get(version) ?? sections.get('Unreleased') ?? '';
  if (notes === '') throw new Error(`CHANGELOG.md says nothing about ${version}`);
  return `# PushCluster ${version}\n\n${notes}\n`;
}
