/** What is released, and from where. */
export type Release = {
  version: string;
  /** Folder of the sources. */
  root: string;
  /** URL at which the sources are published, if that is known. */
  repository: string | undefined;
  /** Registry to which the images are published, if that is known. */
  registry: string | undefined;
  /** URL of the published runbook, if that is known. */
  runbook: string | undefined;
  /** Image that the images are built on, with its digest. Without it, one that is made here. */
  base: string | undefined;
  /** Time of all files, seconds since 1970. */
  seconds: number;
  /** Commit of the sources. */
  revision: string;
};
