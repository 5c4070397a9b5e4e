import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { releaseNotes } from './releaseNotes.ts';

const CHANGELOG =
  '# Changelog\n\nWords.\n\n## [Unreleased]\n\n- new\n\n## [1.0.0] - 2027-01-01\n\n### Added\n\n- old\n';

describe('the notes of a release', () => {
  it('are the section of its version', () => {
    assert.equal(releaseNotes(CHANGELOG, '1.0.0'), '# PushCluster 1.0.0\n\n### Added\n\n- old\n');
  });

  it('are what is unreleased where the version has no section yet', () => {
    assert.equal(releaseNotes(CHANGELOG, '1.1.0'), '# PushCluster 1.1.0\n\n- new\n');
  });

  it('are not empty', () => {
    assert.throws(
      () => releaseNotes('## [Unreleased]\n\n## [1.0.0]\n', '1.0.0'),
      /CHANGELOG\.md says nothing about 1\.0\.0/,
    );
  });
});
